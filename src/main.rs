//! The program `apportion`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    apportion::cli::main()
}
