//! RecordIO, as Mesos frames its event streams: the length of a record in decimal digits, a line feed, and
//! that many bytes. Chunks of the transport may cut it anywhere.
//!
//! Source: the framing that section "RecordIO response format" of the Mesos scheduler HTTP API describes.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// The most bytes of a record that a scheduler should accept: one event may carry thousands of offers.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// More digits than any length needs.
const DIGITS_MAX: usize = 20;

/// What is wrong with a stream. It can't be read on: where the next record begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Something else than digits and a line feed.
    #[error("byte {byte:#04x} where the length of a record is expected")]
    NoDigit {
        /// What came.
        byte: u8,
    },
    /// A line feed without digits before it.
    #[error("an empty length before a record")]
    NoLength,
    /// A length that doesn't end.
    #[error("the length of a record has more than {DIGITS_MAX} digits")]
    TooManyDigits,
    /// A record larger than the decoder was made for.
    #[error("a record of {length} bytes, above {max}")]
    TooLong {
        /// What was announced, in bytes.
        length: u128,
        /// What is accepted, in bytes.
        max: usize,
    },
    /// The stream ended in the middle of a record.
    #[error("the stream ended within a record, {missing} bytes before its end")]
    Cut {
        /// How many bytes at least were still to come.
        missing: usize,
    },
}

/// Cuts a byte stream into records. Pure: bytes are pushed in as they come, and each record comes out as soon
/// as its last byte is there. Holds what was pushed and not yet taken; nothing is reserved for a length that
/// was only announced.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    record_bytes_max: usize,
    /// The length of the record at the front of the buffer, once its line is complete.
    length: Option<usize>,
    failed: Option<RecordError>,
}

impl Decoder {
    /// For records of at most so many bytes.
    #[must_use]
    pub fn new(record_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            record_bytes_max,
            length: None,
            failed: None,
        }
    }

    /// Takes in the next bytes. Take all records out before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next complete record; `None` until more bytes come. O(1) beside the digits.
    ///
    /// # Errors
    /// The stream is no RecordIO; the same error comes ever after.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, RecordError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.advance() {
            Ok(record) => Ok(record),
            Err(error) => {
                self.failed = Some(error);
                self.buffer = BytesMut::new();
                Err(error)
            }
        }
    }

    /// To be asked when the stream has ended: whether it did so between two records.
    ///
    /// # Errors
    /// A record is incomplete, or the stream was no RecordIO before.
    pub fn finish(&self) -> Result<(), RecordError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.length {
            Some(length) => Err(RecordError::Cut {
                missing: length - self.buffer.len(),
            }),
            None if self.buffer.is_empty() => Ok(()),
            None => Err(RecordError::Cut { missing: 1 }),
        }
    }

    fn advance(&mut self) -> Result<Option<Bytes>, RecordError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.read_length()? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            self.length = Some(length);
            return Ok(None);
        }
        self.length = None;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Reads the line with the length, if it is complete, and removes it.
    fn read_length(&mut self) -> Result<Option<usize>, RecordError> {
        let mut length: u128 = 0;
        for (n_digits, &byte) in self.buffer.iter().enumerate() {
            match byte {
                b'\n' if n_digits == 0 => return Err(RecordError::NoLength),
                b'\n' => {
                    let max = self.record_bytes_max;
                    let too_long = RecordError::TooLong { length, max };
                    let length = usize::try_from(length).map_err(|_| too_long)?;
                    if length > max {
                        return Err(too_long);
                    }
                    self.buffer.advance(n_digits + 1);
                    return Ok(Some(length));
                }
                b'0'..=b'9' if n_digits == DIGITS_MAX => return Err(RecordError::TooManyDigits),
                b'0'..=b'9' => length = length * 10 + u128::from(byte - b'0'),
                _ => return Err(RecordError::NoDigit { byte }),
            }
        }
        Ok(None)
    }
}

/// A record as it stands in a stream.
#[must_use]
pub fn encode(record: &[u8]) -> Vec<u8> {
    let mut framed = record.len().to_string().into_bytes();
    framed.push(b'\n');
    framed.extend_from_slice(record);
    framed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(chunks: &[&[u8]], max: usize) -> (Vec<Bytes>, Result<(), RecordError>) {
        let mut decoder = Decoder::new(max);
        let mut records = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            loop {
                match decoder.next_record() {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(
                            decoder.next_record(),
                            Err(error),
                            "it goes on after an error"
                        );
                        assert!(decoder.buffer.is_empty());
                        return (records, Err(error));
                    }
                }
            }
        }
        (records, decoder.finish())
    }

    #[test]
    fn a_record_comes_out_with_its_last_byte() {
        let mut decoder = Decoder::new(10);
        decoder.push(b"2\n\x08");
        assert_eq!(decoder.next_record(), Ok(None));
        decoder.push(b"\x08");
        assert_eq!(
            decoder.next_record(),
            Ok(Some(Bytes::from_static(b"\x08\x08")))
        );
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn an_empty_record_is_one() {
        assert_eq!(decode(&[b"0\n0\n1\nx"], 10).0, ["", "", "x"]);
    }

    #[test]
    fn what_is_no_recordio_is_told_apart() {
        let max = 100;
        let cases: &[(&[u8], RecordError)] = &[
            (b"\nabc", RecordError::NoLength),
            (b"12a\n", RecordError::NoDigit { byte: b'a' }),
            (b"-1\n", RecordError::NoDigit { byte: b'-' }),
            (b" 1\nx", RecordError::NoDigit { byte: b' ' }),
            (b"HTTP/1.1 200 OK", RecordError::NoDigit { byte: b'H' }),
            (b"101\n", RecordError::TooLong { length: 101, max }),
            (
                b"99999999999999999999\n",
                RecordError::TooLong {
                    length: 99_999_999_999_999_999_999,
                    max,
                },
            ),
            (b"000000000000000000001", RecordError::TooManyDigits),
            (b"12", RecordError::Cut { missing: 1 }),
            (b"12\nabc", RecordError::Cut { missing: 9 }),
        ];
        for (stream, expected) in cases {
            assert_eq!(decode(&[stream], max).1, Err(*expected), "{stream:?}");
        }
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut decoder = Decoder::new(RECORD_BYTES_MAX);
        decoder.push(format!("{RECORD_BYTES_MAX}\nfew").as_bytes());
        assert_eq!(decoder.next_record(), Ok(None));
        assert!(decoder.buffer.capacity() < 1 << 16);
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same_records(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let stream: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            places.extend([0, stream.len()]);
            places.sort_unstable();
            let chunks: Vec<&[u8]> = places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&chunks, 300), (records.into_iter().map(Bytes::from).collect(), Ok(())));
        }

        #[test]
        fn single_bytes_give_the_same_as_the_whole_of_any_garbage(
            stream in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                prop::collection::vec(prop::sample::select(&b"0123\n"[..]), 0..200),
            ],
        ) {
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(decode(&bytes, 50), decode(&[&stream], 50));
        }
    }
}
