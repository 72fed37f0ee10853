//! What the system says of processes by their ids.

/// Whether a process is there and not merely waiting to be waited for.
#[must_use]
pub(crate) fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The program's name stands in parentheses and may hold anything.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until none of these is there.
#[track_caller]
pub(crate) fn until_gone(pids: &[i32]) {
    for pid in pids {
        super::wait::for_true(&format!("process {pid} to be gone"), || !is_alive(*pid));
    }
}
