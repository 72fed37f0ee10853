//! Compiles `proto/` to Rust, without `protoc`: protox parses, prost writes the code.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let files = proto_files(Path::new("proto"))?;
    let descriptors = protox::compile(&files, ["proto"]).map_err(Error::other)?;
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .include_file("messages.rs")
        .compile_fds(descriptors)
}

/// All `.proto` files below a folder, in order.
fn proto_files(below: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir()? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "proto") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
