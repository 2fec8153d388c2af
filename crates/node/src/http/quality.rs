//! Weights of the alternatives in `Accept` headers (RFC 9110, section 12.4.2).

/// A weight in thousandths.
pub(super) type Weight = u16;

/// Returns the value of a parameter `q`; `None` if it is another parameter, or invalid.
pub(super) fn weight(parameter: &str) -> Option<Weight> {
    let (name, value) = parameter.trim_matches([' ', '\t']).split_once('=')?;
    if !name.eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}
