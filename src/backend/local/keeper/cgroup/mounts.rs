//! Which cgroups this process is in, and where they are in the file system.

use std::fs;
use std::path::{Path, PathBuf};

use super::CgroupError;

/// The own cgroups, by what `/proc/self/cgroup` and `/proc/self/mountinfo` say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// Controller of v1 and the directory of the own cgroup there.
    v1: Vec<(String, PathBuf)>,
    /// The directory of the own cgroup in v2.
    v2: Option<PathBuf>,
}

impl Own {
    /// Looks.
    ///
    /// # Errors
    /// One of the two files can't be read.
    pub(super) fn read() -> Result<Self, CgroupError> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| CgroupError::Unreadable {
                path: PathBuf::from(path),
                source,
            })
        };
        Ok(Self::parse(
            &read("/proc/self/cgroup")?,
            &read("/proc/self/mountinfo")?,
        ))
    }

    /// From the text of the two files.
    fn parse(cgroups: &str, mounts: &str) -> Self {
        let mut own = Self::default();
        for line in cgroups.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if number == "0" && controllers.is_empty() {
                own.v2 = find_dir(mounts, None, path);
                continue;
            }
            for controller in controllers.split(',') {
                if let Some(dir) = find_dir(mounts, Some(controller), path) {
                    own.v1.push((controller.to_owned(), dir));
                }
            }
        }
        own
    }

    /// The own cgroup's directory in the v1 hierarchy with this controller.
    pub(super) fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1
            .iter()
            .find(|(name, _)| name == controller)
            .map(|(_, dir)| dir.as_path())
    }

    /// The own cgroup's directory in v2.
    pub(super) fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }
}

/// The directory of a cgroup: `controller` of v1, or v2 for `None`. A container may see only a part of the
/// hierarchy; then the mount shows from where on, and a path outside of it means the mount's own root.
fn find_dir(mounts: &str, controller: Option<&str>, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let place: Vec<&str> = place.split(' ').collect();
        let (root, mount_point) = (*place.get(3)?, *place.get(4)?);
        let mut kind = kind.split(' ');
        let wanted = match (kind.next()?, controller) {
            ("cgroup2", None) => true,
            ("cgroup", Some(controller)) => {
                kind.nth(1)?.split(',').any(|option| option == controller)
            }
            _ => false,
        };
        if !wanted {
            return None;
        }
        let inside = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        // Joining an empty path would add a slash at the end.
        let mount_point = PathBuf::from(unescape(mount_point));
        Some(if inside == Path::new("") {
            mount_point
        } else {
            mount_point.join(inside)
        })
    })
}

/// Mount points are written with spaces as `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn finds_the_own_directories_on_a_machine_with_both_versions() {
        let own = Own::parse(
            "8:cpu,cpuacct:/\n4:memory:/user/7\n1:name=systemd:/x\n0::/init.scope\n",
            MOUNTS,
        );
        assert_eq!(
            own.v1("memory"),
            Some(Path::new("/sys/fs/cgroup/memory/user/7"))
        );
        assert_eq!(own.v1("cpu"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(own.v1("freezer"), None);
        assert_eq!(
            own.v2(),
            Some(Path::new("/sys/fs/cgroup/unified/init.scope"))
        );
    }

    #[test]
    fn in_a_container_the_mount_shows_only_a_part() {
        let mounts = "9 8 0:1 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      10 8 0:2 / /sys/fs/c\\040g rw - cgroup2 cgroup2 rw\n";
        let own = Own::parse("4:memory:/docker/ab/sub\n0::/\n", mounts);
        assert_eq!(
            own.v1("memory"),
            Some(Path::new("/sys/fs/cgroup/memory/sub"))
        );
        assert_eq!(own.v2(), Some(Path::new("/sys/fs/c g")));
        let outside = Own::parse("4:memory:/elsewhere\nnonsense\n", mounts);
        assert_eq!(
            outside.v1("memory"),
            Some(Path::new("/sys/fs/cgroup/memory"))
        );
    }
}
