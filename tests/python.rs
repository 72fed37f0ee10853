//! The Python package against the real daemon: its own tests, by pytest, and its types, by mypy.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon;
use crate::support::mesos::{Part, Setup};
use crate::support::programs::missing;

/// The interpreter with the package and what its tests need: the virtual environment that `.ci/run` makes, or
/// the one on the path.
pub(crate) fn interpreter() -> Option<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let found = if made.exists() {
        made
    } else {
        PathBuf::from("python3")
    };
    let check =
        "import apportion, dask, joblib, mypy, pytest, sys; sys.exit(sys.version_info < (3, 9))";
    let output = Command::new(&found).args(["-c", check]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(found);
    }
    missing(
        "python",
        "python3 -m venv target/python && target/python/bin/pip install -e './python[test]'",
    );
    None
}

/// Runs a module of Python in the package's directory and insists on its success.
#[track_caller]
fn run(python: &Path, arguments: &[&str]) {
    run_with(python, arguments, &[]);
}

/// The same with variables in its environment.
#[track_caller]
pub(crate) fn run_with(python: &Path, arguments: &[&str], environment: &[(&str, &str)]) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let output = Command::new(python)
        .args(arguments)
        .current_dir(package)
        .env("APPORTION_PROGRAM", daemon::program())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_python_package_passes_its_tests() {
    if let Some(python) = interpreter() {
        run(&python, &["-m", "pytest", "-x", "-p", "no:cacheprovider"]);
    }
}

/// Tests that say the same wherever the tasks run.
const ANYWHERE: [&str; 3] = [
    "tests/test_task_executer.py",
    "tests/test_executor.py",
    "tests/test_worker.py",
];

#[test]
fn python_tasks_run_on_mesos_as_they_do_here() {
    let Some(python) = interpreter() else { return };
    let setup = Setup::agents(1).resources("cpus:4;mem:8256;disk:10000");
    let Some(mesos) = setup.start() else { return };
    let arguments = ["-m", "pytest", "-p", "no:cacheprovider"];
    let arguments = [&arguments[..], &ANYWHERE].concat();
    let master = mesos.url(Part::Master);
    run_with(&python, &arguments, &[("APPORTION_TEST_MESOS", &master)]);
}

#[test]
fn the_python_package_is_typed() {
    if let Some(python) = interpreter() {
        run(&python, &["-m", "mypy", "--cache-dir=/dev/null"]);
        run(&python, &["-m", "ruff", "check", "--no-cache"]);
    }
}
