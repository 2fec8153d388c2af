//! Tokens of identity providers, as they issue them, at nodes with exactly the settings of `docs/providers.md`. Only the host of
//! the keys is another: a server of the test, which has keys in the provider's form.

mod recipe;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fanfare_testkit::api::Api;
use fanfare_testkit::key_pair::KeyPair;
use fanfare_testkit::key_server::{KeyAnswer, KeyServer};
use fanfare_testkit::node::Node;
use fanfare_testkit::token::{self, Algorithm};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use self::recipe::Recipe;

/// A provider, and a node that accepts its tokens.
struct Scene {
    recipe: Recipe,
    key: KeyPair,
    /// Members of a token's header besides `alg` and `kid`.
    header: Value,
    node: Node,
    _keys: KeyServer,
    _dir: TempDir,
}

impl Scene {
    /// Starts a node with the settings of the page, or with a line more.
    async fn of(heading: &str, keys: &str, kid: &str, header: Value, more: Option<&str>) -> Self {
        let recipe = Recipe::of(heading);
        let server = KeyServer::start(KeyAnswer::Body(keys.to_owned())).await;
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("fanfare.toml");
        let settings = more.map_or_else(|| recipe.settings.clone(), |line| recipe.with(line));
        std::fs::write(&file, settings).unwrap();
        let url = format!("http://{}{}", server.address(), recipe.path_of_keys());
        let node = Node::alone()
            .auth("jwt")
            .set("CONFIG", file.to_str().unwrap())
            .set("AUTH__JWT__SECRET", "")
            .set("AUTH__JWT__JWKS_URL", &url)
            .start()
            .await;
        let key = KeyPair::rsa(kid);
        Self { recipe, key, header, node, _keys: server, _dir: dir }
    }

    fn bearer(&self, claims: &Map<String, Value>) -> Api {
        let token = self.key.sign_with(&self.header, &claims.clone().into());
        self.node.api().with_token(&token)
    }

    /// The bearer of a token with some claims changed, or removed if they are null.
    fn with(&self, changes: Value) -> Api {
        let Value::Object(changes) = changes else { panic!("{changes} is not an object") };
        let mut claims = self.recipe.claims();
        for (name, value) in changes {
            if value.is_null() {
                claims.remove(&name);
            } else {
                claims.insert(name, value);
            }
        }
        self.bearer(&claims)
    }

    /// Checks that a token with these changes is refused, with this word in the reason.
    async fn refuses(&self, changes: Value, word: &str) {
        let answer = self.with(changes.clone()).get("/v1/users/x/sessions").await;
        answer.is_problem(401, "bad-token", &[word]).unwrap_or_else(|e| panic!("{changes}: {e}"));
    }

    /// Checks that a token with these changes is that of a user.
    async fn is_of(&self, changes: Value, user: &str) {
        let path = format!("/v1/users/{}/sessions", user.replace('|', "%7C"));
        let answer = self.with(changes).get(&path).await;
        assert_eq!(answer.status, 200, "{user}: {}", answer.text);
    }

    /// Checks to which of these channels a token with these changes may subscribe and publish.
    async fn grants(&self, changes: Value, subscribe: &[(&str, bool)], publish: &[(&str, bool)]) {
        let api = self.with(changes.clone());
        for (channel, may) in subscribe {
            let answer = api.get(&format!("/v1/channels/{}/events", channel.replace('|', "%7C"))).await;
            assert_eq!(answer.status, if *may { 200 } else { 403 }, "{changes}, {channel}: {}", answer.text);
        }
        for (channel, may) in publish {
            let answer = api.post(&json!({"channel": channel, "data": "x"})).await.unwrap();
            assert_eq!(answer.status, if *may { 200 } else { 403 }, "{changes}, {channel}: {}", answer.text);
        }
    }

    /// Checks that tokens of another key, another issuer and another time are refused.
    async fn is_strict(&self) {
        let other = KeyPair::new(self.key.id()).sign(&self.recipe.claims().into());
        let answer = self.node.api().with_token(&other).get("/v1/users/x/sessions").await;
        answer.is_problem(401, "bad-token", &["algorithm"]).unwrap_or_else(|e| panic!("{e}"));
        self.refuses(json!({"iss": "https://evil.example.com"}), "iss").await;
        self.refuses(json!({"iss": null}), "iss").await;
        self.refuses(json!({"sub": null}), "sub").await;
        self.refuses(json!({"exp": 4_000_000_000_u64}), "max_lifetime").await;
    }
}

#[tokio::test]
async fn auth0() {
    let (keys, kid) = (include_str!("providers/auth0.json"), "ZkC7tNpQ2xWbV5sYd8RgJ");
    let scene = Scene::of("Auth0", keys, kid, json!({"typ": "JWT"}), None).await;
    let user = "auth0|6553da60a54af58e29493993";
    scene.is_of(json!({}), user).await;
    scene
        .grants(
            json!({}),
            &[("room:7", true), (&format!("user:{user}"), true), ("room:8", false), ("user:auth0|1", false)],
            &[("news:1", true), ("room:7", false)],
        )
        .await;
    scene
        .grants(json!({"permissions": ["publish:newsletters"]}), &[("room:7", true)], &[("news:1", false)])
        .await;
    // A machine-to-machine application.
    let machine = json!({"sub": "K1AU@clients", "gty": "client-credentials", "https://events.example.com/fanfare": null,
        "aud": "https://events.example.com", "scope": "publish:news"});
    scene.is_of(machine.clone(), "K1AU@clients").await;
    scene.grants(machine, &[("room:7", false)], &[("news:1", true)]).await;
    // An ID token, and an access token for another API.
    scene.refuses(json!({"aud": "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja"}), "aud").await;
    scene.refuses(json!({"aud": ["https://example.eu.auth0.com/userinfo"]}), "aud").await;
    scene.is_strict().await;
    let scene = Scene::of("Auth0", keys, kid, json!({"typ": "at+jwt"}), None).await;
    scene.is_of(json!({"azp": null, "client_id": "K1AU", "jti": "73Wa"}), user).await;
}

#[tokio::test]
async fn clerk() {
    let (keys, kid) = (include_str!("providers/clerk.json"), "ins_2hJ4kLm6NpQr8StU");
    let scene = Scene::of("Clerk", keys, kid, json!({"cat": "cl_B7d4PD222AAA", "typ": "JWT"}), None).await;
    scene.is_of(json!({}), "user_2nOpQrStUvWxYzAb").await;
    scene.is_of(json!({"azp": "https://admin.example.com"}), "user_2nOpQrStUvWxYzAb").await;
    let (own, other) = ("org:org_2aBcDeFgHiJkLmNo:orders", "org:org_other:orders");
    scene.grants(json!({}), &[(own, true), (other, false)], &[(own, true), (other, false)]).await;
    scene.grants(json!({"role": "org:member"}), &[(own, true)], &[(own, false)]).await;
    // Without an active organization, shortcodes are null or left out.
    let mut alone = scene.recipe.claims();
    alone.extend([("org".to_owned(), Value::Null), ("role".to_owned(), Value::Null)]);
    assert_eq!(scene.bearer(&alone).get("/v1/channels/user:user_2nOpQrStUvWxYzAb/events").await.status, 200);
    assert_eq!(scene.bearer(&alone).get("/v1/channels/org:null:x/events").await.status, 403);
    scene.grants(json!({"org": null, "role": null}), &[(own, false)], &[(own, false)]).await;
    // A session token.
    let session = json!({"aud": null, "v": 2, "sid": "sess_2", "sts": "active", "fva": [7, -1],
        "o": {"id": "org_2aBcDeFgHiJkLmNo", "slg": "acme", "rol": "admin"}});
    scene.refuses(session, "aud").await;
    scene
        .refuses(json!({"azp": "https://evil.example.com"}), "azp is not that of auth.jwt.required_claims")
        .await;
    scene.refuses(json!({"azp": null}), "azp").await;
    scene.is_strict().await;
}

#[tokio::test]
async fn cognito() {
    let (keys, kid) =
        (include_str!("providers/cognito.json"), "VGhpcyBpcyBhIGtleSBpZCBvZiB0aGUgdGVzdHMuIC4=");
    let scene = Scene::of("Cognito", keys, kid, json!({}), None).await;
    scene.is_of(json!({}), "f3e4a8c2-1091-70a5-6b1f-2f6a3d9c7b10").await;
    let groups = [("group:editors:x", true), ("group:customers:x", true), ("group:admins:x", false)];
    scene.grants(json!({}), &groups, &[("news:1", true), ("group:editors:x", false)]).await;
    let none = json!({"cognito:groups": null});
    scene.grants(none, &[("group:editors:x", false)], &[("news:1", false)]).await;
    scene.grants(json!({"cognito:groups": ["editors-in-chief"]}), &[], &[("news:1", false)]).await;
    let admin = json!({"scope": "openid events/admin"});
    scene.grants(admin, &[("anything", true)], &[("user:7", true)]).await;
    scene.grants(json!({"scope": "events/administrators"}), &[("anything", false)], &[]).await;
    // The trigger before token generation adds it.
    let added = json!({"fanfare": {"subscribe": ["room:7"]}});
    scene.grants(added, &[("room:7", true)], &[]).await;
    // An ID token, and a token of another app client.
    let id =
        json!({"token_use": "id", "client_id": null, "aud": "1example23456789", "cognito:username": "ada"});
    scene.refuses(id, "token_use is not that of auth.jwt.required_claims").await;
    scene.refuses(json!({"client_id": "another"}), "client_id").await;
    scene.is_strict().await;
}

#[tokio::test]
async fn keycloak() {
    let (keys, kid) =
        (include_str!("providers/keycloak.json"), "Q2m8sVdYb5hTnGkXpR7wLzC1uJfEaKo4yWi9tBvPx0M");
    let scene = Scene::of("Keycloak", keys, kid, json!({"typ": "JWT"}), None).await;
    let user = "8d1f0e2c-3b4a-4958-a7b6-c5d4e3f2a1b0";
    scene.is_of(json!({}), user).await;
    let roles = [("role:editor:x", true), ("role:offline_access:x", true), ("role:admin:x", false)];
    scene.grants(json!({}), &roles, &[("news:1", true), ("role:editor:x", false)]).await;
    scene.grants(json!({"realm_access": null}), &[("role:editor:x", false)], &[("news:1", false)]).await;
    // A role of this name of another client, or of the realm, is another role.
    for access in [json!({"account": {"roles": ["admin"]}}), json!({"fanfare": {"roles": []}})] {
        let changes = json!({"resource_access": access, "realm_access": {"roles": ["admin"]}});
        scene.grants(changes, &[("anything", false)], &[("user:7", false)]).await;
    }
    let admin = json!({"resource_access": {"fanfare": {"roles": ["admin"]}}});
    scene.grants(admin, &[("anything", true)], &[("user:7", true)]).await;
    // An ID token, and tokens of other clients.
    scene.refuses(json!({"typ": "ID", "aud": "shop-web"}), "aud").await;
    scene.refuses(json!({"typ": "ID"}), "typ is not that of auth.jwt.required_claims").await;
    scene.refuses(json!({"azp": "another"}), "azp").await;
    scene.refuses(json!({"aud": "account"}), "aud").await;
    scene.is_strict().await;
    // The key for encryption signs nothing.
    let encryption = KeyPair::rsa("b4JxQw7TzR1nYpK9vLsE2dGfHcUaMi6oXtB8yZeVq3A");
    let api = scene.node.api().with_token(&encryption.sign(&scene.recipe.claims().into()));
    assert_eq!(api.get("/v1/users/x/sessions").await.status, 401);
    let named =
        Scene::of("Keycloak", keys, kid, json!({}), Some(r#"user_claim = "preferred_username""#)).await;
    named.is_of(json!({}), "ada").await;
    named.refuses(json!({"preferred_username": null}), "preferred_username").await;
}

#[tokio::test]
async fn firebase() {
    let (keys, kid) = (include_str!("providers/firebase.json"), "3c5b1a9e7d2f4608b1c3d5e7f90a2b4c6d8e0f12");
    let scene = Scene::of("Firebase", keys, kid, json!({"typ": "JWT"}), None).await;
    let user = "q1W2e3R4t5Y6u7I8o9P0aSdFgHj1";
    scene.is_of(json!({}), user).await;
    scene
        .grants(json!({}), &[("room:7", true), ("room:8", false)], &[("news:1", true), ("room:7", false)])
        .await;
    let anonymous = json!({"role": null, "fanfare": null, "email": null, "email_verified": null,
        "provider_id": "anonymous", "firebase": {"identities": {}, "sign_in_provider": "anonymous"}});
    scene.is_of(anonymous.clone(), user).await;
    scene.grants(anonymous.clone(), &[("room:7", false)], &[("news:1", false)]).await;
    scene.grants(json!({"email_verified": false}), &[], &[("news:1", false)]).await;
    // The token of another project has the same keys, and so has its user.
    let foreign = json!({"iss": "https://securetoken.google.com/evil", "aud": "evil"});
    scene.refuses(foreign, "iss").await;
    scene.refuses(json!({"aud": "evil"}), "aud").await;
    scene.is_strict().await;
    let unknown = KeyPair::rsa("0000000000000000000000000000000000000000");
    let api = scene.node.api().with_token(&unknown.sign(&scene.recipe.claims().into()));
    assert_eq!(api.get("/v1/users/x/sessions").await.status, 401, "no certificate has its kid");
    let line = r#"required_claims = ["email_verified=true"]"#;
    let verified = Scene::of("Firebase", keys, kid, json!({}), Some(line)).await;
    verified.is_of(json!({}), user).await;
    verified.refuses(anonymous, "email_verified").await;
    verified.refuses(json!({"email_verified": false}), "email_verified").await;
}

#[tokio::test]
async fn services_have_tokens_of_their_own_issuer_beside_the_provider() {
    const SECRET: &str = "5f1d3c7b9a2e4f608d1c3b5a7f9e2d4c6b8a0f1e3d5c7b9a1f2e4d6c8b0a3f5e";
    let (provider, own) = (Recipe::of("Auth0"), Recipe::of("Your own services"));
    let server = KeyServer::start(KeyAnswer::Body(include_str!("providers/auth0.json").to_owned())).await;
    let dir = TempDir::new().unwrap();
    let (file, secret) = (dir.path().join("fanfare.toml"), dir.path().join("jwt.secret"));
    std::fs::write(&secret, SECRET).unwrap();
    let settings = own.settings.replace("jwt.secret", secret.to_str().unwrap());
    std::fs::write(&file, format!("{}\n{settings}", provider.settings)).unwrap();
    let node = Node::alone()
        .auth("jwt")
        .set("CONFIG", file.to_str().unwrap())
        .set("AUTH__JWT__SECRET", "")
        .set("AUTH__JWT__JWKS_URL", &format!("http://{}/keys", server.address()))
        .start()
        .await;
    let service = |claims: Map<String, Value>, secret: &str| {
        let [header, claims] = [json!({"alg": "HS256"}), claims.into()]
            .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        node.api().with_token(&token::signed(&format!("{header}.{claims}"), secret, Algorithm::HS256))
    };
    let user = KeyPair::rsa("ZkC7tNpQ2xWbV5sYd8RgJ").sign(&provider.claims().into());
    let mut stream = node.stream().token(&user).open().await;
    let channel = "user:auth0|6553da60a54af58e29493993";
    service(own.claims(), SECRET).publish(channel, "t", "hello").await;
    stream.expect_data("hello").await;
    // The secret of the services signs no tokens of the provider, and its key none of the services.
    let forged = service(provider.claims(), SECRET).get("/v1/users/x/sessions").await;
    forged.is_problem(401, "bad-token", &["algorithm"]).unwrap_or_else(|e| panic!("{e}"));
    let crossed = KeyPair::rsa("ZkC7tNpQ2xWbV5sYd8RgJ").sign(&own.claims().into());
    let crossed = node.api().with_token(&crossed).get("/v1/users/orders/sessions").await;
    crossed.is_problem(401, "bad-token", &["algorithm"]).unwrap_or_else(|e| panic!("{e}"));
}
