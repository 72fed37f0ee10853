//! The program `apportion`: everything is in the library.

use std::process::ExitCode;

use apportion::policies::Registry;

fn main() -> ExitCode {
    apportion::main_with(Registry::default())
}
