//! Keeps others than the daemon's user out of its data directory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What all others are allowed.
const OTHERS: u32 = 0o007;

/// Takes from all others what they may do in the data directory; its group keeps what it has. Where tasks run as other
/// users, these may pass through it to the directory `tasks`, which sees to itself.
///
/// # Errors
/// What the file system says. Some of it may have been done.
pub(super) fn close_to_others(data_dir: &Path, tasks: &str, has_users: bool) -> io::Result<()> {
    allow(data_dir, if has_users { 0o001 } else { 0 })?;
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        let is_link = entry.file_type()?.is_symlink();
        if entry.file_name() != tasks && !is_link {
            allow(&entry.path(), 0)?;
        }
    }
    Ok(())
}

fn allow(path: &Path, others: u32) -> io::Result<()> {
    let metadata = match fs::metadata(path) {
        // Such as a file of the database that was needed for a moment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    let mode = metadata.permissions().mode() & 0o7777;
    let wanted = mode & !OTHERS | others;
    if mode == wanted {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_see_nothing_and_pass_through_where_they_must() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("tasks")).unwrap();
        fs::create_dir_all(data.join("values")).unwrap();
        fs::write(data.join("db"), "x").unwrap();
        let set = |name: &str, mode| {
            fs::set_permissions(data.join(name), Permissions::from_mode(mode)).unwrap();
        };
        for name in ["", "tasks", "values", "db"] {
            set(name, 0o755);
        }
        let modes = || {
            ["", "tasks", "values", "db"].map(|name| {
                let metadata = fs::metadata(data.join(name)).unwrap();
                metadata.permissions().mode() & 0o777
            })
        };
        close_to_others(&data, "tasks", true).unwrap();
        assert_eq!(modes(), [0o751, 0o755, 0o750, 0o750]);
        close_to_others(&data, "tasks", false).unwrap();
        assert_eq!(modes(), [0o750, 0o755, 0o750, 0o750]);
    }
}
