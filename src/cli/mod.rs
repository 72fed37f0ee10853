//! x
pub fn main() -> std::process::ExitCode {
    unimplemented!()
}
