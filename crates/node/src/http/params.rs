//! Query parameters: known ones, each once unless it may be repeated.

use fanfare_auth::{api_key, ticket};

use super::problem::Problem;

/// Parameters of every endpoint.
const EVERYWHERE: [&str; 2] = ["token", "user"];

/// Maximum number of characters of an unknown name in an error.
const NAME_CHARS: usize = 64;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params {
    given: Vec<(&'static str, String)>,
}

impl Params {
    /// Parses a query. `single` parameters may be present once, `repeatable` ones any number of times; `token` and
    /// `user` are always allowed once.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is unknown, or is repeated although it may not be.
    pub fn parse(
        query: Option<&str>,
        single: &[&'static str],
        repeatable: &[&'static str],
    ) -> Result<Self, Problem> {
        let mut first_unknown = None;
        let params = Self::parse_known(query, single, repeatable, |name, _| {
            first_unknown.get_or_insert_with(|| unknown(name, single, repeatable));
        });
        first_unknown.map_or(params, Err)
    }

    /// Parses a query and skips unknown parameters, which are passed to `other` with their values.
    ///
    /// # Errors
    ///
    /// Fails if a known parameter is repeated although it may not be.
    pub fn parse_known(
        query: Option<&str>,
        single: &[&'static str],
        repeatable: &[&'static str],
        mut other: impl FnMut(&str, &str),
    ) -> Result<Self, Problem> {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let mut known = single.iter().chain(repeatable).chain(&EVERYWHERE);
            let Some(known) = known.find(|known| **known == name) else {
                other(&name, &value);
                continue;
            };
            if !repeatable.contains(known) && params.get(known).is_some() {
                return Err(Problem::bad_request(format!("the parameter {known}= is present twice")));
            }
            params.given.push((known, value.into_owned()));
        }
        Ok(params)
    }

    /// Returns the value of a parameter, if it is present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Returns all values of a parameter, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.given.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Returns whether a parameter is `true`; false without it.
    ///
    /// # Errors
    ///
    /// Fails if the value is neither `true` nor `false`.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::bad_request(format!("{name}= must be true or false"))),
        }
    }

    /// Returns the value of a parameter as a whole number from 1 to `most`.
    ///
    /// # Errors
    ///
    /// Fails if the value is not such a number.
    pub fn count(&self, name: &str, most: usize) -> Result<Option<usize>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        match number.filter(|number| (1..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::bad_request(format!("{name}= must be a whole number from 1 to {most}"))),
        }
    }
}

/// Returns the beginning of a parameter's name, for errors and logs: the name may be long, or a misplaced credential. Of a ticket or
/// an API key only the prefix is shown; of a token, no more than its header.
pub(super) fn shown(name: &str) -> String {
    let secret = [api_key::PREFIX, ticket::PREFIX].into_iter().find(|prefix| name.contains(prefix));
    match secret {
        Some(prefix) => format!("{prefix}…"),
        None => name.chars().take(NAME_CHARS).collect(),
    }
}

fn unknown(name: &str, single: &[&str], repeatable: &[&str]) -> Problem {
    let name = shown(name);
    let known: Vec<_> = repeatable.iter().chain(single).map(|known| format!("{known}=")).collect();
    let known = if known.is_empty() { "only token=".to_owned() } else { known.join(", ") };
    Problem::bad_request(format!("unknown parameter {name:?}; known parameters: {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Params, String> {
        Params::parse(Some(query), &["after", "last"], &["channel"]).map_err(|problem| problem.detail)
    }

    #[test]
    fn channels_may_be_repeated_and_nothing_else() {
        let params = parse("channel=a&after=1&channel=b%2Fc&token=t").unwrap();
        assert_eq!(params.all("channel").collect::<Vec<_>>(), ["a", "b/c"]);
        assert_eq!(params.get("after"), Some("1"));
        assert_eq!(params.get("last"), None);
        assert!(parse("after=1&after=1").unwrap_err().contains("after="));
        assert!(parse("token=1&token=1").unwrap_err().contains("token="));
        assert!(parse("chanel=a").unwrap_err().contains("chanel"));
        assert!(Params::parse(None, &[], &[]).is_ok());
    }

    #[test]
    fn a_lenient_reader_passes_over_unknown_names_and_nothing_else() {
        let read = |query: &str| {
            let mut ignored = Vec::new();
            let params = Params::parse_known(Some(query), &["after"], &["channel"], |name, _| {
                ignored.push(name.to_owned());
            });
            params.map(|params| (params.get("after").map(str::to_owned), ignored)).map_err(|p| p.detail)
        };
        assert_eq!(
            read("_=17&after=1&_=18&=x"),
            Ok((Some("1".into()), vec!["_".into(), "_".into(), String::new()]))
        );
        assert!(read("_=1&after=1&after=2").unwrap_err().contains("after="));
    }

    #[test]
    fn a_flag_is_true_or_false() {
        let flag = |text: &str| parse(text).unwrap().flag("last").map_err(|problem| problem.detail);
        assert_eq!((flag("last=true"), flag("last=false"), flag("")), (Ok(true), Ok(false), Ok(false)));
        for bad in ["last", "last=", "last=1", "last=True"] {
            assert_eq!(flag(bad), Err("last= must be true or false".into()), "{bad}");
        }
    }

    #[test]
    fn a_count_is_a_plain_number_in_its_range() {
        let count = |text: &str| parse(&format!("last={text}")).unwrap().count("last", 10).ok().flatten();
        assert_eq!((count("1"), count("10")), (Some(1), Some(10)));
        for bad in ["", "0", "11", "-1", "+1", "1.0", "99999999999999999999999"] {
            assert_eq!(count(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_misplaced_credential_is_not_shown() {
        for secret in ["fft_AExdVsecret.Nw", "ffk_AExdVsecret", "xfft_secret"] {
            let text = shown(secret);
            assert!(text.ends_with("_…") && !text.contains("secret"), "{text}");
        }
        assert_eq!(shown("cache"), "cache");
    }
}
