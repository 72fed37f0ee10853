//! For fuzzing alone: what the daemon and its keeper say to each other. No part of the program.

use std::io;

use super::wire::{Lines, Order, Report, write_line};

/// Reads lines as either side does. What was read is written, and read, the same again.
pub fn read(mut bytes: &[u8]) {
    let mut lines = Lines::default();
    while let Ok(true) = lines.fill(&mut bytes) {
        while let Some(line) = lines.next_line() {
            if let Ok(order) = serde_json::from_slice::<Order<'_>>(line) {
                let again = written(&order);
                let order_again: Order<'_> = serde_json::from_slice(&again).unwrap();
                assert_eq!(again, written(&order_again));
            }
            if let Ok(report) = serde_json::from_slice::<Report>(line) {
                let again: Report = serde_json::from_slice(&written(&report)).unwrap();
                assert_eq!(again, report);
            }
        }
    }
}

fn written(message: &impl serde::Serialize) -> Vec<u8> {
    let mut line = Vec::new();
    let done: io::Result<()> = write_line(&mut line, message);
    done.unwrap();
    line
}
