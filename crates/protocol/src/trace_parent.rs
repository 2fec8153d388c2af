//! The trace context of an event: `traceparent` of W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context-1/#traceparent-header>).
//!
//! A context that is malformed is ignored, as the standard asks (section 4.3): it never refuses what carries it.

use std::fmt;

/// Length of a context of version `00`, in bytes.
const LENGTH: usize = 55;
/// The flag of a sampled trace.
const SAMPLED: u8 = 1;

/// A trace, and the span in it that caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// Creates a context of a trace and a span; `None` if an id is zero.
    pub fn new(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<Self> {
        let is_valid = trace != [0; 16] && span != [0; 8];
        is_valid.then_some(Self { trace, span, flags: if sampled { SAMPLED } else { 0 } })
    }

    /// Parses a context; `None` if it is malformed. Of a version after `00`, only the part that this version knows is read, and
    /// of its flags only the one for sampling.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let [version] = hex(&known[..2])?;
        let is_whole =
            if version == 0 { rest.is_empty() } else { rest.first().is_none_or(|&byte| byte == b'-') };
        let separators = [known[2], known[35], known[52]];
        if version == u8::MAX || !is_whole || separators != *b"---" {
            return None;
        }
        let [flags] = hex(&known[53..])?;
        Self::new(hex(&known[3..35])?, hex(&known[36..52])?, flags & SAMPLED != 0)
    }

    /// Returns the id of the trace.
    pub fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// Returns the id of the span.
    pub fn span(&self) -> [u8; 8] {
        self.span
    }

    /// Returns whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the id of the trace, as in the text.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

/// Parses lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<String> {
        TraceParent::parse(text.as_bytes()).map(|parsed| parsed.to_string())
    }

    #[test]
    fn a_context_reads_back_and_says_whether_it_is_sampled() {
        let parsed = TraceParent::parse(TEXT.as_bytes()).unwrap();
        assert_eq!((parsed.to_string().as_str(), parsed.is_sampled()), (TEXT, true));
        assert_eq!(parsed.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceParent::new(parsed.trace(), parsed.span(), true), Some(parsed));
        let unsampled = TraceParent::parse(TEXT.replace("-01", "-00").as_bytes()).unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn of_later_versions_and_unknown_flags_only_the_known_part_is_kept() {
        for later in [
            TEXT.replace("-01", "-09"),
            TEXT.replacen("00-", "01-", 1),
            TEXT.replacen("00-", "fe-", 1) + "-what-comes",
        ] {
            assert_eq!(parse(&later).as_deref(), Some(TEXT), "{later}");
        }
    }

    #[test]
    fn a_malformed_context_is_none() {
        for bad in [
            String::new(),
            TEXT[..54].to_owned(),
            format!("{TEXT}-"),
            format!("{TEXT} "),
            TEXT.replacen("00-", "ff-", 1),
            TEXT.replacen("00-", "0x-", 1),
            TEXT.replacen("00-", "01-", 1) + "x",
            TEXT.to_uppercase(),
            TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            TEXT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            TEXT.replace("-01", "-0g"),
            TEXT.replace('-', "_"),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_context_reads_back(trace: [u8; 16], span: [u8; 8], sampled: bool) {
            let Some(context) = TraceParent::new(trace, span, sampled) else { return Ok(()) };
            prop_assert_eq!(TraceParent::parse(context.to_string().as_bytes()), Some(context));
        }

        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>, near in "[0-9a-f-]{50,60}") {
            let _ = (TraceParent::parse(&bytes), TraceParent::parse(near.as_bytes()));
        }
    }
}
