//! The description of the HTTP API (`OpenAPI` 3.2), from the routes and the types of the bodies.
//!
//! The routes of a listener are made with their descriptions, so that none is without one. `docs/openapi.json` is what a node serves,
//! which a test checks and writes.
//!
//! # Layout
//!
//! - `call`: describes one operation; `schema`: what is not a type of `fanfare-api`
//! - `routes`: routes with their descriptions
//! - `stream`, `publishing`, `sessions`, `finite`, `operating`: the operations by topic

pub(super) mod call;
pub(super) mod finite;
pub(super) mod operating;
pub(super) mod publishing;
pub(super) mod routes;
mod schema;
pub(super) mod sessions;
pub(super) mod stream;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use self::call::{Call, Parts};
use self::routes::Described;
use super::problem::Code;

/// Path of the description.
pub(super) const PATH: &str = "/v1/openapi.json";

/// `GET /v1/openapi.json`: the description of all endpoints, those of the admin listener included.
pub async fn openapi() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// Describes this endpoint.
pub(super) fn describe() -> Call {
    let meaning = "An OpenAPI 3.2 document. Its `info.version` is the version of the node.";
    Call::open("getApiDescription", "operations", "Get this description of the API")
        .about("It has the calls of the admin listener too. No token is needed.")
        .answers_schema(200, "application/json", meaning, json!({ "type": "object" }))
}

/// Returns the document as text, as in `docs/openapi.json`.
fn text() -> String {
    // Values of JSON are always encoded.
    serde_json::to_string_pretty(&document(&super::described())).unwrap_or_default() + "\n"
}

/// Returns the document of these routes.
fn document(routes: &[Described]) -> Value {
    let mut schemas = BTreeMap::new();
    let mut refusals = Refusals::default();
    let mut paths = Map::new();
    for Described { path, method, describe, inside } in routes {
        let mut call = describe();
        if *inside {
            call = call
                .about("If `admin.listen` is set, only the admin listener serves this call.")
                .refuses(&[Code::NotFound]);
        }
        let Parts { mut operation, mut responses, refusals: refused, schemas: used } = call.into_parts();
        let id = operation["operationId"].as_str().unwrap_or_default();
        for (status, response) in refused {
            responses.insert(status, refusals.name((status, id), response));
        }
        let responses = responses.into_iter().map(|(status, response)| (status.to_string(), response));
        operation.insert("responses".to_owned(), Value::Object(responses.collect()));
        schemas.extend(used);
        // The rest of a path is a parameter, too.
        let path = path.replace("{*", "{");
        paths.entry(path).or_insert_with(|| json!({}))[*method] = Value::Object(operation);
    }
    let schemas: Map<String, Value> = schemas.into_iter().collect();
    json!({
        "openapi": "3.2.0",
        "info": {
            "title": "Fanfare",
            "summary": "Server-sent events from a cluster of stateless nodes",
            "description": "docs/protocol.md has the rules that this description cannot express.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The node, or the load balancer, that serves this document" }],
        "security": [{ "bearer": [] }, { "token": [] }, { "cookie": [] }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": refusals.named,
            "parameters": { "user": {
                "name": "user",
                "in": "query",
                "description": "The user, with `auth.mode = \"none\"` only",
                "schema": schema::user(),
            } },
            "securitySchemes": security_schemes(),
        },
    })
}

/// The responses with problems, which most operations share.
#[derive(Default)]
struct Refusals {
    named: Map<String, Value>,
}

impl Refusals {
    /// Names a response, by the first operation that has it if others have another one with its status. Returns a reference.
    fn name(&mut self, (status, id): (u16, &str), response: Value) -> Value {
        let same = self.named.iter().find(|(_, other)| **other == response).map(|(name, _)| name.clone());
        let name = same.unwrap_or_else(|| {
            let plain = format!("Problem{status}");
            let name = if self.named.contains_key(&plain) { format!("{plain}-{id}") } else { plain };
            self.named.insert(name.clone(), response);
            name
        });
        json!({ "$ref": format!("#/components/responses/{name}") })
    }
}

fn tags() -> Value {
    json!([
        { "name": "streams", "description": "Event streams and long polls" },
        { "name": "channels", "description": "Publishing, history and presence" },
        { "name": "sessions", "description": "Sessions, tokens and tickets of users, and what they acknowledged" },
        { "name": "finite-streams", "description": "Bytes with an end, by the Durable Streams protocol" },
        { "name": "operations", "description": "Nodes, revocations, dead letters, health and metrics" },
    ])
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token (JWT), or an API key (`ffk_…`). None is needed with `auth.mode = \"none\"`. \
                            With `auth.mode = \"callback\"`, the application decides about the headers of the client.",
        },
        "token": { "type": "apiKey", "in": "query", "name": "token", "description": "A token, for clients that cannot set headers" },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "fanfare_token",
            "description": "A token, in the cookie that `auth.cookie` names; only for pages of the node's origin and of \
                            `http.allowed_origins`",
        },
        "ticket": { "type": "apiKey", "in": "query", "name": "ticket", "description": "A ticket of `POST /v1/tickets`, for one stream" },
    })
}

#[cfg(test)]
mod tests;
