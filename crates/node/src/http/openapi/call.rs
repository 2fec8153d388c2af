//! The description of one operation.

use std::collections::BTreeMap;

use fanfare_api::problem::{MEDIA_TYPE, ProblemDetails};
use http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

use crate::http::problem::Code;

/// Problems of every call: what is checked before its endpoint sees it.
const OF_ALL: &[Code] = &[
    Code::BadRequest,
    Code::Misdirected,
    Code::Precondition,
    Code::Expectation,
    Code::HeadTooLarge,
    Code::ShareUsed,
    Code::Internal,
    Code::Busy,
];

/// Problems of every call that needs a token.
const WITH_TOKEN: &[Code] = &[
    Code::NoToken,
    Code::BadToken,
    Code::ExpiredToken,
    Code::RevokedToken,
    Code::Unauthenticated,
    Code::NoGrant,
    Code::ForeignOrigin,
    Code::RateLimited,
    Code::Unavailable,
    Code::Refused,
];

/// Problems of every call with a body.
const WITH_BODY: &[Code] =
    &[Code::BadJson, Code::RequestTimeout, Code::TooLarge, Code::MediaType, Code::ContentCoding];

/// The description of an operation, as its Operation Object.
#[derive(Debug)]
pub(in crate::http) struct Call {
    operation: Map<String, Value>,
    about: Vec<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: BTreeMap<u16, Value>,
    problems: Vec<Code>,
    /// Named schemas that the operation uses.
    schemas: BTreeMap<String, Value>,
}

impl Call {
    /// Describes an operation that needs a token.
    pub(in crate::http) fn new(id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let mut call = Self::bare(id, tag, summary).refuses(WITH_TOKEN);
        call.parameters.push(json!({ "$ref": "#/components/parameters/user" }));
        call
    }

    /// Describes an operation that needs no token.
    pub(in crate::http) fn open(id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let mut call = Self::bare(id, tag, summary);
        call.operation.insert("security".to_owned(), json!([]));
        call
    }

    fn bare(id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let operation = json!({ "operationId": id, "tags": [tag], "summary": summary });
        let Value::Object(operation) = operation else { unreachable!("an object") };
        Self {
            operation,
            about: Vec::new(),
            parameters: Vec::new(),
            body: None,
            responses: BTreeMap::new(),
            problems: OF_ALL.to_vec(),
            schemas: BTreeMap::new(),
        }
    }

    /// Adds a sentence to the description.
    pub(in crate::http) fn about(mut self, text: &'static str) -> Self {
        self.about.push(text);
        self
    }

    /// Sets the ways of authentication in place of those of the document.
    pub(super) fn security(mut self, ways: Value) -> Self {
        self.operation.insert("security".to_owned(), ways);
        self
    }

    /// Adds a parameter of the path.
    pub(super) fn path(self, name: &str, meaning: &str, schema: Value) -> Self {
        self.parameter("path", name, meaning, schema)
    }

    /// Adds an optional parameter of the query.
    pub(super) fn query(self, name: &str, meaning: &str, schema: Value) -> Self {
        self.parameter("query", name, meaning, schema)
    }

    /// Adds an optional header.
    pub(super) fn header(self, name: &str, meaning: &str, schema: Value) -> Self {
        self.parameter("header", name, meaning, schema)
    }

    fn parameter(mut self, place: &str, name: &str, meaning: &str, schema: Value) -> Self {
        let mut parameter =
            json!({ "name": name, "in": place, "required": place == "path", "description": meaning });
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self
    }

    /// Adds a JSON body.
    pub(super) fn takes<T: ToSchema>(self, is_required: bool, meaning: &str) -> Self {
        let (call, schema) = self.reference::<T>();
        call.takes_schema(is_required, meaning, schema)
    }

    /// Adds a JSON body with this schema.
    pub(super) fn takes_schema(mut self, is_required: bool, meaning: &str, schema: Value) -> Self {
        let mut body = json!({ "required": is_required, "description": meaning });
        body["content"]["application/json"]["schema"] = schema;
        self.body = Some(body);
        self.refuses(WITH_BODY)
    }

    /// Adds a body of any media type.
    pub(super) fn takes_any(mut self, meaning: &str) -> Self {
        self.body = Some(json!({ "required": false, "description": meaning, "content": { "*/*": {} } }));
        self.refuses(WITH_BODY)
    }

    /// Adds a header that every response with a status has.
    pub(super) fn with_header(mut self, status: u16, name: &str, meaning: &str) -> Self {
        if let Some(response) = self.responses.get_mut(&status) {
            response["headers"][name] = json!({ "description": meaning, "schema": { "type": "string" } });
        }
        self
    }

    /// Adds a JSON response.
    pub(super) fn answers<T: ToSchema>(self, status: u16, meaning: &str) -> Self {
        let (call, schema) = self.reference::<T>();
        call.answers_schema(status, "application/json", meaning, schema)
    }

    /// Adds a response with this schema.
    pub(super) fn answers_schema(self, status: u16, media_type: &str, meaning: &str, schema: Value) -> Self {
        let mut content = json!({});
        content[media_type]["schema"] = schema;
        self.answers_with(status, meaning, content)
    }

    /// Adds a response with these media types; `null` has no body.
    pub(super) fn answers_with(mut self, status: u16, meaning: &str, content: Value) -> Self {
        let mut response = json!({ "description": meaning });
        if !content.is_null() {
            response["content"] = content;
        }
        self.responses.insert(status, response);
        self
    }

    /// Adds problems, beside those of every call.
    pub(super) fn refuses(mut self, codes: &[Code]) -> Self {
        self.problems.extend(codes);
        self
    }

    /// Names a schema.
    pub(super) fn named(mut self, name: &str, schema: Value) -> Self {
        self.schemas.insert(name.to_owned(), schema);
        self
    }

    /// Names the schema of a type and returns a reference to it.
    pub(super) fn reference<T: ToSchema>(mut self) -> (Self, Value) {
        let mut used = Vec::new();
        T::schemas(&mut used);
        used.push((T::name().into_owned(), <T as PartialSchema>::schema()));
        for (name, schema) in used {
            // A schema has nothing that JSON cannot express.
            let mut schema = serde_json::to_value(schema).unwrap_or_default();
            // What a reader takes for a missing member is not for the description: a node writes all of them.
            let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
            for property in properties.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut)
            {
                property.shift_remove("default");
            }
            self.schemas.insert(name, schema);
        }
        (self, reference(&T::name()))
    }

    /// Returns the operation with its parts.
    pub(super) fn into_parts(self) -> Parts {
        let (call, problem) = self.reference::<ProblemDetails>();
        let Self { mut operation, about, parameters, body, mut responses, problems, schemas } = call;
        if !about.is_empty() {
            operation.insert("description".to_owned(), json!(about.join(" ")));
        }
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), json!(parameters));
        }
        if let Some(body) = body {
            operation.insert("requestBody".to_owned(), body);
        }
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in Code::ALL.into_iter().filter(|code| problems.contains(code)) {
            by_status.entry(code.status().as_u16()).or_default().push(code);
        }
        let mut refusals = BTreeMap::new();
        for (status, codes) in by_status {
            match responses.get_mut(&status) {
                // A call whose own response has this status, as readiness has: its problem is another media type.
                Some(response) => {
                    response["content"][MEDIA_TYPE] = json!({ "schema": of_codes(status, &codes, &problem) });
                }
                None => drop(refusals.insert(status, refusal(status, &codes, &problem))),
            }
        }
        Parts { operation, responses, refusals, schemas }
    }
}

/// The parts of an operation.
pub(super) struct Parts {
    /// The Operation Object without its responses.
    pub(super) operation: Map<String, Value>,
    /// Its own responses.
    pub(super) responses: BTreeMap<u16, Value>,
    /// Its problems, which other operations may share.
    pub(super) refusals: BTreeMap<u16, Value>,
    /// The named schemas that it refers to.
    pub(super) schemas: BTreeMap<String, Value>,
}

/// Returns a reference to a named schema.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Returns the response with a status and one of these problems.
fn refusal(status: u16, codes: &[Code], problem: &Value) -> Value {
    let titles: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let mut response = json!({ "description": titles.join("; ") });
    let text = json!({ "type": "string" });
    let header = match StatusCode::from_u16(status) {
        Ok(StatusCode::UNAUTHORIZED) => Some(("WWW-Authenticate", "The challenge (RFC 6750)", text)),
        Ok(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => Some((
            "Retry-After",
            "Seconds to wait, if a retry may help",
            json!({ "type": "integer", "minimum": 0 }),
        )),
        _ => None,
    };
    if let Some((name, meaning, schema)) = header {
        response["headers"] = json!({ name: { "description": meaning, "schema": schema } });
    }
    response["content"] = json!({ MEDIA_TYPE: { "schema": of_codes(status, codes, problem) } });
    response
}

/// Returns the schema of a problem with one of these codes.
fn of_codes(status: u16, codes: &[Code], problem: &Value) -> Value {
    let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    json!({
        "allOf": [problem, { "type": "object", "properties": { "code": { "enum": words }, "status": { "const": status } } }],
    })
}
