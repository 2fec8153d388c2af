use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_protocol::rights::Rights;
use fanfare_protocol::{Channel, User};
use serde_json::{Value, json};

use super::*;
use crate::Authenticator;
use crate::claim_name::ClaimName;
use crate::claim_value::ClaimValue;
use crate::grant_rule::GrantRule;
use crate::new_token::NewToken;
use crate::signing_key::SigningKey;
use crate::template::Template;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_700_000_000;

fn settings() -> IssuerSettings {
    IssuerSettings {
        leeway: Duration::from_secs(5),
        max_lifetime: Some(Duration::from_hours(366 * 24)),
        keys: vec![Key::secret(SECRET).unwrap()],
        ..IssuerSettings::new("auth.jwt")
    }
}

fn auth(change: impl FnOnce(&mut IssuerSettings)) -> Authenticator {
    let mut settings = settings();
    change(&mut settings);
    Authenticator::new(vec![settings]).unwrap()
}

fn sign(claims: &Value) -> String {
    let [header, claims] =
        [&json!({"alg": "HS256"}), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let signature = SigningKey::secret(SECRET, None).unwrap().sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn check(auth: &Authenticator, claims: &Value) -> Result<Identity, TokenError> {
    auth.check(&sign(claims), at(NOW))
}

#[track_caller]
fn bad(result: Result<Identity, TokenError>, word: &str) {
    match result {
        Err(TokenError::Invalid(why)) => assert!(why.contains(word), "{why} has no {word}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_names_its_user_and_grants() {
    let identity = check(
        &auth(|_| ()),
        &json!({"sub": "7", "exp": NOW + 60, "fanfare": {"subscribe": ["room:*"]}, "other": [1]}),
    )
    .unwrap();
    assert_eq!(identity.user, User::new("7").unwrap());
    assert_eq!(identity.expires, at(NOW + 65));
    assert!(identity.grants.may_subscribe(None, &Channel::new("room:1").unwrap()));
    assert_eq!(identity.grants.admin, Rights::default());
    for number in [json!(42), json!(-7), json!(u64::MAX)] {
        let identity = check(&auth(|_| ()), &json!({"sub": number, "exp": NOW + 60})).unwrap();
        assert_eq!(identity.user, User::new(&number.to_string()).unwrap());
    }
    let plain = check(&auth(|_| ()), &json!({"sub": "7", "exp": 1_700_000_000.5})).unwrap();
    assert_eq!(plain.grants, Grants::default());
}

#[test]
fn time_is_checked_with_leeway() {
    let auth = auth(|_| ());
    assert!(check(&auth, &json!({"sub": "7", "exp": NOW - 4})).is_ok());
    let user = fanfare_protocol::User::new("7").unwrap();
    let expired = TokenError::Expired { user, id: Some(crate::revocation::token_id("a")) };
    assert_eq!(check(&auth, &json!({"sub": "7", "exp": NOW - 5, "jti": "a"})), Err(expired));
    bad(check(&auth, &json!({"sub": "7", "exp": u64::MAX})), "max_lifetime");
    bad(check(&auth, &json!({"sub": "7"})), "exp");
    bad(check(&auth, &json!({"sub": "7", "exp": null})), "exp");
    bad(check(&auth, &json!({"sub": "7", "exp": -1})), "exp");
    bad(check(&auth, &json!({"sub": "7", "exp": "soon"})), "its exp is not a time");
    bad(check(&auth, &json!({"sub": "7", "exp": NOW + 9, "nbf": NOW + 6})), "nbf");
    assert!(check(&auth, &json!({"sub": "7", "exp": NOW + 9, "nbf": NOW + 5})).is_ok());
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let auth = auth(|_| ());
    bad(check(&auth, &json!({"exp": NOW + 9})), "sub");
    bad(check(&auth, &json!({"sub": null, "exp": NOW + 9})), "it has no sub");
    bad(check(&auth, &json!({"sub": "", "exp": NOW + 9})), "sub");
    bad(check(&auth, &json!({"sub": "a b", "exp": NOW + 9})), "sub");
    for odd in [json!(true), json!(7.5), json!(["7"]), json!({"id": "7"})] {
        bad(check(&auth, &json!({"sub": odd, "exp": NOW + 9})), "neither text nor a whole number");
    }
    for claim in ["exp", "nbf", "iat"] {
        for odd in [json!("1"), json!([]), json!({}), json!(true)] {
            let mut claims = json!({"sub": "7", "exp": NOW + 9});
            claims[claim] = odd;
            bad(check(&auth, &claims), &format!("its {claim} is not a time"));
        }
    }
    for (grants, word) in [
        (json!([["*"], ["*"], true]), "an object"),
        (json!(null), "an object"),
        (json!({"root": true}), "unknown field `root`"),
        (json!({"publish": "room:*"}), "publish: invalid type: string"),
        (json!({"subscribe": ["a", 5]}), "subscribe[1]: invalid type: integer `5`"),
        (json!({"subscribe": ["ro om"]}), "subscribe[0]: the channel name has"),
    ] {
        let result = check(&auth, &json!({"sub": "7", "exp": NOW + 9, "fanfare": grants}));
        bad(result.clone(), "its claim fanfare is invalid: ");
        bad(result, word);
    }
    bad(check(&auth, &json!(["7", NOW + 9, null, {"admin": true}])), "its claims are invalid");
    bad(check(&auth, &json!([1])), "its claims are invalid");
}

#[test]
fn a_token_for_ever_is_refused_unless_the_settings_allow_it() {
    let week = 7 * 24 * 3600;
    let strict = auth(|issuer| issuer.max_lifetime = Some(Duration::from_secs(week)));
    let claims = |iat: Option<u64>, exp: u64| match iat {
        Some(iat) => json!({"sub": "7", "iat": iat, "exp": exp}),
        None => json!({"sub": "7", "exp": exp}),
    };
    for (iat, exp, good) in [
        (None, NOW + week, true),
        (None, NOW + week + 60, false),
        (Some(NOW), NOW + week, true),
        // It was good for longer when it was made.
        (Some(NOW - week), NOW + 60, false),
        // A clock ahead makes nothing longer.
        (Some(NOW + 3600), NOW + week + 3600, false),
        (Some(NOW - 60), NOW + week - 60, true),
    ] {
        let result = check(&strict, &claims(iat, exp));
        assert_eq!(result.is_ok(), good, "{iat:?} {exp}: {result:?}");
        if !good {
            bad(result, "7days (auth.jwt.max_lifetime)");
        }
    }
    bad(check(&strict, &json!({"sub": "7", "exp": NOW + 9, "iat": -1})), "iat");
    let open = auth(|issuer| issuer.max_lifetime = None);
    assert!(check(&open, &json!({"sub": "7", "exp": u64::MAX})).is_ok());
    assert!(check(&auth(|_| ()), &claims(None, NOW + 365 * 24 * 3600)).is_ok(), "a year by default");
}

#[test]
fn issuer_and_audience_must_be_there_if_they_are_set() {
    let auth = auth(|issuer| {
        issuer.issuer = Some("us".into());
        issuer.audience = vec!["fanfare".into(), "events".into()];
    });
    let claims = |iss: Value, aud: Value| json!({"sub": "7", "exp": NOW + 9, "iss": iss, "aud": aud});
    for aud in [json!("fanfare"), json!("events"), json!(["x", "fanfare"])] {
        assert!(check(&auth, &claims(json!("us"), aud)).is_ok());
    }
    bad(check(&auth, &claims(json!("them"), json!("fanfare"))), "its iss is not auth.jwt.issuer");
    bad(check(&auth, &claims(json!(["us"]), json!("fanfare"))), "iss");
    for aud in [json!("x"), json!([]), json!(["x"]), json!("")] {
        bad(check(&auth, &claims(json!("us"), aud)), "its aud is not auth.jwt.audience");
    }
    for aud in [json!(7), json!(["fanfare", 7]), json!({"fanfare": true})] {
        bad(check(&auth, &claims(json!("us"), aud)), "neither a text nor a list");
    }
    bad(check(&auth, &json!({"sub": "7", "exp": NOW + 9, "iss": "us"})), "it has no aud");
}

#[test]
fn claims_of_other_names_give_user_and_grants() {
    let claim = |name: &str| ClaimName::new(name).unwrap();
    let auth = auth(|issuer| {
        issuer.user = claim("/user/id");
        issuer.grants = claim("https://example.com/fanfare");
        issuer.rules = vec![GrantRule {
            subscribe: vec![
                Template::new("team:{/user/teams}:*").unwrap(),
                Template::new("news").unwrap(),
                Template::new("org:{org}").unwrap(),
            ],
            publish: vec![Template::new("inbox:{/user/id}").unwrap()],
            ..GrantRule::default()
        }];
    });
    let claims = |teams: Value| {
        json!({"sub": "other", "exp": NOW + 9, "user": {"id": 7, "teams": teams},
            "https://example.com/fanfare": {"subscribe": ["room:1"]}})
    };
    let identity = check(&auth, &claims(json!(["a", "b"]))).unwrap();
    assert_eq!(identity.user, User::new("7").unwrap());
    let names = |patterns: &[fanfare_protocol::Pattern]| {
        patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&identity.grants.subscribe), ["room:1", "team:a:*", "team:b:*", "news"]);
    assert_eq!(names(&identity.grants.publish), ["inbox:7"]);
    bad(check(&auth, &claims(json!(["*"]))), "its /user/teams cannot be part of a grant");
    bad(check(&auth, &json!({"sub": "7", "exp": NOW + 9})), "it has no /user/id, which names the user");
}

#[test]
fn claims_with_values_are_required_and_give_grants() {
    let value = |text: &str| ClaimValue::new(text).unwrap();
    let auth = auth(|issuer| {
        issuer.required = vec![value("token_use=access"), value("client_id=a"), value("client_id=b")];
        issuer.rules = vec![
            GrantRule {
                claims: vec![value("groups=editors")],
                publish: vec![Template::new("news:{desk}").unwrap()],
                ..GrantRule::default()
            },
            GrantRule {
                claims: vec![value("groups=ops"), value("mfa=true")],
                admin: true,
                ..GrantRule::default()
            },
        ];
    });
    let claims = |more: Value| {
        let mut claims = json!({"sub": "7", "exp": NOW + 9, "token_use": "access", "client_id": "b"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    let grants = |more: Value| check(&auth, &claims(more)).unwrap().grants;
    assert_eq!(grants(json!({"desk": "x"})), Grants::default());
    let editor = grants(json!({"groups": ["users", "editors"], "desk": "x"}));
    assert_eq!(editor.publish.iter().map(fanfare_protocol::Pattern::as_str).collect::<Vec<_>>(), ["news:x"]);
    assert!(!editor.admin.is_admin() && editor.subscribe.is_empty());
    assert!(!grants(json!({"groups": ["ops"]})).admin.is_admin());
    assert!(grants(json!({"groups": ["ops"], "mfa": true})).admin.is_admin());
    bad(
        check(&auth, &claims(json!({"token_use": "id"}))),
        "its token_use is not that of auth.jwt.required_claims",
    );
    bad(check(&auth, &claims(json!({"client_id": "c"}))), "its client_id is not that of");
    bad(check(&auth, &json!({"sub": "7", "exp": NOW + 9})), "its token_use is not that of");
    // Tokens without the group do not need what its template names.
    bad(
        check(&auth, &claims(json!({"groups": "editors", "desk": "*"}))),
        "its desk cannot be part of a grant",
    );
    assert_eq!(grants(json!({"groups": "users", "desk": "*"})), Grants::default());
}

#[test]
fn a_created_token_is_what_its_issuer_accepts() {
    let mut issuer = settings();
    issuer.issuer = Some("https://login.example".into());
    issuer.audience = vec!["a".into(), "b".into()];
    issuer.typ = Some("at+jwt".into());
    issuer.required =
        ["use=access", "/user/roles=a", "/user/roles=b"].map(|text| ClaimValue::new(text).unwrap()).into();
    issuer.user = ClaimName::new("/user/id").unwrap();
    issuer.grants = ClaimName::new("/user/grants").unwrap();
    let grants = Grants { admin: Rights::ADMIN, ..Grants::default() };
    let token = |ttl| NewToken { user: User::new("7").unwrap(), grants: grants.clone(), ttl };
    let key = SigningKey::secret(SECRET, None).unwrap().with_id(Some("x".into()));
    let auth = Authenticator::new(vec![issuer.clone()]).unwrap();
    let text = token(Duration::from_mins(1)).sign(&key, &issuer, at(NOW)).unwrap();
    let identity = auth.check(&text, at(NOW)).unwrap();
    assert_eq!((identity.user.id(), identity.grants), ("7", grants.clone()));
    let long = token(Duration::from_hours(367 * 24)).sign(&key, &issuer, at(NOW)).unwrap_err();
    assert!(long.to_string().contains("auth.jwt.max_lifetime"), "{long}");
    issuer.algorithms = crate::Algorithms::of(&[crate::Algorithm::ES256]);
    let other = token(Duration::from_mins(1)).sign(&key, &issuer, at(NOW)).unwrap_err();
    assert!(other.to_string().contains("auth.jwt.algorithms does not have HS256"), "{other}");
}
