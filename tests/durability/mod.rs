//! Nothing acknowledged is lost: SIGKILL at random instants, a full disk, a damaged file.

mod account;
mod backup;
mod kills;
mod load;
mod past;
mod storage;
