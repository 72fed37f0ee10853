//! The unit for systemd: systemd itself reads it, and what it starts is the program of this build.

use std::process::Command;

use crate::support::programs;

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let Some(analyze) = programs::find("systemd-analyze", "systemd") else {
        return;
    };
    let unit = include_str!("../config/systemd/apportion.service");
    let installed = "/usr/local/bin/apportion";
    assert!(unit.contains(installed));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("apportion.service");
    let unit = unit.replace(installed, env!("CARGO_BIN_EXE_apportion"));
    std::fs::write(&file, unit).unwrap();
    let output = Command::new(analyze)
        .arg("verify")
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("apportion.service"), "{said}");
}

#[test]
fn the_commands_of_the_unit_are_commands_of_the_program() {
    let unit = include_str!("../config/systemd/apportion.service");
    let commands = unit
        .lines()
        .filter_map(|line| line.split_once("/usr/local/bin/apportion "))
        .filter(|(before, _)| before.starts_with("Exec"));
    let mut n_commands = 0;
    for (_, arguments) in commands {
        let command = arguments.split(' ').next().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_apportion"))
            .args([command, "--help"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(arguments.contains("--config") && help.contains("--config"));
        n_commands += 1;
    }
    assert_eq!(n_commands, 3);
}
