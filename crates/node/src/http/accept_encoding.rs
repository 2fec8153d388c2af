//! Negotiation of the content coding: `Accept-Encoding` (RFC 9110, section 12.5.3).

use fanfare_hub::stream::Coding;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::quality::{Weight, weight};

/// The relevant weights of a client.
#[derive(Clone, Copy, Debug, Default)]
struct Weights {
    gzip: Option<Weight>,
    identity: Option<Weight>,
    others: Option<Weight>,
}

/// Returns the coding of the response: gzip if the client accepts it and does not prefer identity. A client without
/// the header gets identity, although any coding would be allowed.
pub(super) fn negotiate(headers: &HeaderMap) -> Coding {
    let mut weights = Weights::default();
    let lines = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    for member in lines.flat_map(|line| line.split(',')) {
        weights.note(member);
    }
    let gzip = weights.gzip.or(weights.others).unwrap_or(0);
    if gzip > 0 && weights.identity.is_none_or(|identity| identity <= gzip) {
        Coding::Gzip
    } else {
        Coding::Identity
    }
}

impl Weights {
    /// Adds one member of the list. For a repeated coding the lower weight counts, which is the safe one.
    fn note(&mut self, member: &str) {
        let (name, weight) = match member.split_once(';') {
            None => (member, Some(1000)),
            Some((name, parameter)) => (name, weight(parameter)),
        };
        let place = match name.trim_matches([' ', '\t']).to_ascii_lowercase().as_str() {
            // Equivalent by RFC 9110, section 8.4.1.3.
            "gzip" | "x-gzip" => &mut self.gzip,
            "identity" => &mut self.identity,
            "*" => &mut self.others,
            _ => return,
        };
        // An invalid weight means that the coding is not accepted.
        let weight = weight.unwrap_or(0);
        *place = Some(place.map_or(weight, |other| other.min(weight)));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&str]) -> Coding {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        negotiate(&headers)
    }

    #[test]
    fn gzip_is_for_who_accepts_it() {
        for lines in [
            &["gzip"][..],
            &["GZip"],
            &["x-gzip"],
            &["gzip, deflate, br, zstd"],
            &["deflate", "gzip;q=0.1"],
            &["br;q=1.0 , gzip ; q=0.8 , *;q=0.1"],
            &["*"],
            &["*;Q=0.001"],
            &["gzip;q=0.5, identity;q=0.5"],
            &["gzip;q=1.000,identity;q=0"],
            &["identity;q=0, *"],
            &[",gzip,,"],
        ] {
            assert_eq!(of(lines), Coding::Gzip, "{lines:?}");
        }
    }

    #[test]
    fn a_client_that_does_not_accept_gzip_gets_identity() {
        for lines in [
            &[][..],
            &[""],
            &["identity"],
            &["br, deflate"],
            &["gzip;q=0"],
            &["gzip;q=0.000"],
            &["gzip;q=0, *"],
            &["*;q=0"],
            &["gzip", "gzip;q=0"],
            &["x-gzip;q=0, gzip"],
            &["gzip;q=0.5, identity"],
            &["gzipped"],
            &["gz ip"],
            &["gzip;q=x"],
            &["gzip;q=2"],
            &["gzip;q=1.001"],
            &["gzip;q=0.1234"],
            &["gzip;q=-1"],
            &["gzip;q=+1"],
            &["gzip;q="],
            &["gzip;q"],
            &["gzip;level=9"],
            &["gzip;q=1;q=1"],
        ] {
            assert_eq!(of(lines), Coding::Identity, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn weights_decide_whatever_stands_around_them(
            gzip in 0u16..=1000,
            identity in proptest::option::of(0u16..=1000),
            others in proptest::collection::vec("(br|zstd|deflate|\\*|x-y)(;q=0\\.[0-9]{0,3})?", 0..4),
            space in "[ \t]{0,2}",
            first: bool,
        ) {
            let text = |weight: u16| format!("{}.{:03}", weight / 1000, weight % 1000);
            let mut members = others;
            members.push(format!("gzip{space};{space}q={}", text(gzip)));
            members.extend(identity.map(|weight| format!("identity;q={}", text(weight))));
            if first {
                members.reverse();
            }
            let wanted = if gzip > 0 && identity.is_none_or(|identity| identity <= gzip) {
                Coding::Gzip
            } else {
                Coding::Identity
            };
            prop_assert_eq!(of(&[&members.join(&format!("{space},{space}"))]), wanted);
            let lines: Vec<&str> = members.iter().map(String::as_str).collect();
            prop_assert_eq!(of(&lines), wanted);
        }

        #[test]
        fn any_text_has_an_answer(line in "[ -~\t]{0,40}") {
            of(&[&line]);
        }
    }
}
