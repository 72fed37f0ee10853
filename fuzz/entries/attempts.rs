//! What scheduler and executor tell each other of an attempt: where the first byte is odd its end, otherwise the task's
//! id, a line feed, and its description.

use apportion::backend::remote::{ended, launch};

pub(crate) fn run(bytes: &[u8]) {
    let Some((kind, message)) = bytes.split_first() else {
        return;
    };
    if kind % 2 == 1 {
        if let Some(read) = ended::from_bytes(message) {
            // What was read is told again in the same words.
            let written = ended::to_bytes(&read);
            let again = ended::from_bytes(&written).expect("what was written is read");
            assert_eq!(written, ended::to_bytes(&again));
        }
        return;
    }
    let end = message.iter().position(|byte| *byte == b'\n');
    let (id, description) = message.split_at(end.unwrap_or(message.len()));
    let description = description.get(1..).unwrap_or_default();
    match launch::from_bytes(&String::from_utf8_lossy(id), description) {
        Ok(received) => {
            // No upload is one without an address.
            let upload = received.upload.unwrap_or_else(|| launch::Upload {
                url: String::new(),
                token: String::new(),
            });
            let written = launch::to_bytes(&received.launch, &upload, &received.limits);
            assert!(!written.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
