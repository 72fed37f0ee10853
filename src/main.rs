//! The program `apportion`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The keeper is a program of its own that happens to live in the same file: small, without a
    // runtime, and started by the daemon only.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "keeper")
    {
        return apportion::backend::local::keeper::main();
    }
    apportion::cli::main()
}
