//! Numbers by which a producer's repeated appends are recognized.

/// The greatest number of an epoch or a sequence: what every JSON parser reads exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;
/// Maximum length of a producer's id, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// One append of a producer: `Producer-Id`, `Producer-Epoch` and `Producer-Seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The producer's id, unique within the stream.
    pub id: String,
    /// Grows when the producer starts again; an older one is refused.
    pub epoch: u64,
    /// Number of the append in the epoch, from 0.
    pub seq: u64,
}

/// Why the headers of a producer are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// Some of the three headers are missing.
    #[error("Producer-Id, Producer-Epoch and Producer-Seq must be sent together")]
    Incomplete,
    /// An empty or long id.
    #[error("Producer-Id has {0} bytes; 1 to {MAX_ID_BYTES} are allowed")]
    Id(usize),
    /// A number that is not one.
    #[error("{0} must be a whole number from 0 to {MAX_NUMBER}")]
    Number(&'static str),
}

impl Producer {
    /// Creates the numbers from the headers' texts. `None` if there are none.
    ///
    /// # Errors
    ///
    /// Fails if a header is missing or invalid.
    pub fn read(
        id: Option<&str>,
        epoch: Option<&str>,
        seq: Option<&str>,
    ) -> Result<Option<Self>, ProducerError> {
        match (id, epoch, seq) {
            (None, None, None) => Ok(None),
            (Some(id), Some(epoch), Some(seq)) => {
                if id.is_empty() || id.len() > MAX_ID_BYTES {
                    return Err(ProducerError::Id(id.len()));
                }
                let (epoch, seq) = (number("Producer-Epoch", epoch)?, number("Producer-Seq", seq)?);
                Ok(Some(Self { id: id.to_owned(), epoch, seq }))
            }
            _ => Err(ProducerError::Incomplete),
        }
    }
}

fn number(header: &'static str, text: &str) -> Result<u64, ProducerError> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_digits.then(|| text.parse().ok()).flatten().filter(|number| *number <= MAX_NUMBER);
    number.ok_or(ProducerError::Number(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_headers_or_none() {
        assert_eq!(Producer::read(None, None, None), Ok(None));
        let one = Producer { id: "a".into(), epoch: 0, seq: MAX_NUMBER };
        assert_eq!(Producer::read(Some("a"), Some("00"), Some("9007199254740991")), Ok(Some(one)));
        assert_eq!(Producer::read(Some("a"), None, Some("0")), Err(ProducerError::Incomplete));
        assert_eq!(Producer::read(Some(""), Some("0"), Some("0")), Err(ProducerError::Id(0)));
        for bad in ["", "-1", "+1", "1e3", "1abc", "1.0", " 1", "9007199254740992", "99999999999999999999999"]
        {
            let seq = Producer::read(Some("a"), Some("0"), Some(bad));
            assert_eq!(seq, Err(ProducerError::Number("Producer-Seq")), "{bad}");
            let epoch = Producer::read(Some("a"), Some(bad), Some("0"));
            assert_eq!(epoch, Err(ProducerError::Number("Producer-Epoch")), "{bad}");
        }
    }
}
