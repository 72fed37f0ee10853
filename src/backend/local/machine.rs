//! What this machine has for tasks: cpus and memory, found out unless configured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apportion_policies::Amount;

/// All that this machine offers: what is configured, and `cpus` and `mem` where they are not.
///
/// `cpus` are those that this process may use, by its affinity and by the cgroup's quota; `mem` is the
/// machine's memory or what the cgroup allows, whichever is less, in MiB. Nothing is kept back for the
/// system or for the daemon: where that is wanted, it is configured.
pub(super) fn resources(configured: &BTreeMap<Arc<str>, Amount>) -> BTreeMap<Arc<str>, Amount> {
    let mut total = configured.clone();
    total.entry("cpus".into()).or_insert_with(cpus);
    total.entry("mem".into()).or_insert_with(mem);
    total.retain(|_, amount| !amount.is_zero());
    total
}

/// The cpus that this process may use.
fn cpus() -> Amount {
    let n_cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Amount::from_units(n_cpus as u64).unwrap_or(Amount::MAX)
}

/// The memory that this process may use.
fn mem() -> Amount {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let machine = total_bytes(&read("/proc/meminfo"));
    let limits = cgroup_files(&read("/proc/self/cgroup"));
    let limits = limits
        .iter()
        .filter_map(|path| limit_bytes(&fs::read_to_string(path).ok()?));
    // Without either, 1 GiB is a guess that any machine fulfils.
    let bytes = machine.into_iter().chain(limits).min().unwrap_or(1 << 30);
    Amount::from_units(bytes >> 20).unwrap_or(Amount::MAX)
}

/// `MemTotal` of `/proc/meminfo`.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The files that limit this process's memory: those of its cgroup and of all above. In a container the
/// path may lead nowhere, and the limit stands at the root.
fn cgroup_files(own: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers
                .split(',')
                .any(|controller| controller == "memory") =>
            {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(
            path.ancestors()
                .map(|dir| Path::new(root).join(dir).join(file)),
        );
    }
    files
}

/// A limit; `max` is none.
fn limit_bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(units: u64) -> Amount {
        Amount::from_units(units).unwrap()
    }

    #[test]
    fn what_is_configured_counts() {
        let configured = [("cpus", 64), ("mem", 1000), ("gpus", 2), ("nothing", 0)];
        let configured: BTreeMap<Arc<str>, Amount> = configured
            .map(|(name, amount)| (name.into(), units(amount)))
            .into();
        let total = resources(&configured);
        assert_eq!(total.len(), 3);
        assert_eq!(
            (total["cpus"], total["mem"], total["gpus"]),
            (units(64), units(1000), units(2))
        );
    }

    #[test]
    fn the_rest_is_found_out() {
        let total = resources(&BTreeMap::new());
        assert!(total["cpus"] >= units(1));
        assert!(total["mem"] >= units(16));
    }

    #[test]
    fn limits_are_sought_all_the_way_up() {
        let own = "4:memory:/user/7\n3:cpu:/user\n0::/app.slice\n";
        let files: Vec<String> = cgroup_files(own)
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/memory/user/7/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/user/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/app.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(limit_bytes("max\n"), None);
        assert_eq!(limit_bytes("1073741824\n"), Some(1 << 30));
        assert_eq!(
            total_bytes("MemFree: 1 kB\nMemTotal:       24683920 kB\n"),
            Some(24_683_920 << 10)
        );
    }
}
