//! Reads the public key of a `SubjectPublicKeyInfo` (RFC 5280, section 4.1), which has one form for each kind of key.

use rustls::pki_types::alg_id;

use crate::key::{Curve, Key, KeyError};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Returns the key of a `SubjectPublicKeyInfo`.
///
/// # Errors
///
/// Fails if the structure is damaged, or if the key is of an unsupported kind.
pub(crate) fn public_key(info: &[u8]) -> Result<Key, KeyError> {
    let (algorithm, key) = parts(info).ok_or(KeyError::Damaged)?;
    if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
        let (modulus, exponent) = rsa(key).ok_or(KeyError::Damaged)?;
        Key::rsa(modulus, exponent)
    } else if algorithm == alg_id::ECDSA_P256.as_ref() {
        Key::point(Curve::P256, key)
    } else if algorithm == alg_id::ECDSA_P384.as_ref() {
        Key::point(Curve::P384, key)
    } else if algorithm == alg_id::ED25519.as_ref() {
        Key::point(Curve::Ed25519, key)
    } else {
        Err(KeyError::Kind)
    }
}

/// Returns the identifier of the algorithm and the key.
fn parts(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (algorithm, bits) = element(all(info, SEQUENCE)?, SEQUENCE)?;
    // The first byte of a bit string is the number of unused bits.
    let (0, key) = all(bits, BIT_STRING)?.split_first()? else { return None };
    Some((algorithm, key))
}

/// Returns modulus and exponent of an `RSAPublicKey` (RFC 8017, appendix A.1.1).
fn rsa(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (modulus, rest) = element(all(key, SEQUENCE)?, INTEGER)?;
    let exponent = all(rest, INTEGER)?;
    // The first bit is the sign.
    let is_positive = |number: &[u8]| number.first().is_some_and(|byte| byte & 0x80 == 0);
    (is_positive(modulus) && is_positive(exponent)).then_some((modulus, exponent))
}

/// Returns the content of an element that is all of `input`.
fn all(input: &[u8], tag: u8) -> Option<&[u8]> {
    match element(input, tag)? {
        (content, []) => Some(content),
        _ => None,
    }
}

/// Returns the content of the first element of `input`, which must have this tag, and what follows the element.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = input.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // Up to 64 KiB. DER requires the shortest form.
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
            let least = if bytes.len() == 1 { 0x80 } else { 0x100 };
            (Some(length).filter(|length| *length >= least)?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_has_the_shortest_length_and_is_not_cut() {
        assert_eq!(element(&[0x30, 2, 1, 2, 3], SEQUENCE), Some((&[1, 2][..], &[3][..])));
        let long = [&[0x30, 0x81, 0x80][..], &[7; 0x80]].concat();
        assert_eq!(element(&long, SEQUENCE), Some((&[7; 0x80][..], &[][..])));
        for bad in [
            &[][..],
            &[0x30],
            &[0x31, 0],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 1, 0],
            &[0x30, 0x82, 0, 1, 0],
            &[0x30, 0x82, 1],
            &[0x30, 0x83, 0, 0, 1, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(element(bad, SEQUENCE), None, "{bad:?}");
        }
    }

    #[test]
    fn every_prefix_of_a_key_is_damaged() {
        let pem = include_bytes!("../tests/keys/es256.public.pem");
        let (_, key) = crate::pem::sections(pem).next().unwrap().unwrap();
        assert!(public_key(&key).is_ok());
        for end in 0..key.len() {
            assert!(public_key(&key[..end]).is_err(), "{end}");
        }
        let longer = [&key[..], &[0]].concat();
        assert!(matches!(public_key(&longer), Err(KeyError::Damaged)));
    }
}
