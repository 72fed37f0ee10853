//! The framing of Mesos' streams, in pieces as long as the first byte says; with all bytes at once it tells the same.

use apportion::proto::recordio::{Decoder, RecordError};

/// The largest record that is taken.
const RECORD_MAX: usize = 4096;

fn decode(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Result<(), RecordError>) {
    let mut decoder = Decoder::new(RECORD_MAX);
    let mut records = Vec::new();
    for chunk in bytes.chunks(piece.max(1)) {
        decoder.push(chunk);
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => records.push(record.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_record().unwrap_err(), error);
                    return (records, Err(error));
                }
            }
        }
    }
    (records, decoder.finish())
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else {
        return;
    };
    let (records, end) = decode(stream, usize::from(*piece));
    assert!(records.iter().map(Vec::len).sum::<usize>() <= stream.len());
    let (records_at_once, end_at_once) = decode(stream, stream.len());
    assert_eq!(records, records_at_once);
    assert_eq!(end.is_ok(), end_at_once.is_ok());
}
