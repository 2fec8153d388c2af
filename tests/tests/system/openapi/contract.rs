//! A document of `OpenAPI`, to which answers are compared.

use std::collections::{BTreeSet, HashMap};

use boon::{Compiler, SchemaIndex, Schemas};
use fanfare_testkit::api::Answer;
use serde_json::{Value, json};

/// Where the compiler finds the document.
const DOCUMENT: &str = "mem:///openapi.json";

/// The document, and what was seen of it.
pub(super) struct Contract {
    document: Value,
    compiler: Compiler,
    schemas: Schemas,
    compiled: HashMap<String, SchemaIndex>,
    called: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl Contract {
    pub(super) fn new(document: Value) -> Self {
        assert_eq!(document["openapi"], "3.2.0");
        let mut compiler = Compiler::new();
        compiler.add_resource(DOCUMENT, document.clone()).expect("JSON");
        let (schemas, compiled) = (Schemas::new(), HashMap::new());
        Self { document, compiler, schemas, compiled, called: BTreeSet::new(), seen: BTreeSet::new() }
    }

    /// Returns every operation: method, path, and whether it needs a token.
    pub(super) fn operations(&self) -> Vec<(String, String, bool)> {
        let paths = self.document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods.iter().map(|(method, of)| (method.clone(), path.clone(), of["security"] != json!([])))
        });
        operations.collect()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.document["paths"].as_object().unwrap().keys().cloned().collect()
    }

    pub(super) fn describes(&self, method: &str, path: &str) -> bool {
        self.document["paths"][path].get(method).is_some()
    }

    /// Checks the status, the media type and the body of an answer.
    pub(super) fn check(&mut self, (method, path): (&str, &str), answer: &Answer) {
        let what = format!("{method} {path}: {} {}", answer.status, answer.text);
        let mut pointer = format!("/paths/{}/{method}/responses/{}", escaped(path), answer.status);
        let response = self.document.pointer(&pointer);
        let response = response.unwrap_or_else(|| panic!("the status is not described: {what}"));
        if let Some(reference) = response["$ref"].as_str() {
            reference.trim_start_matches('#').clone_into(&mut pointer);
        }
        let response = self.document.pointer(&pointer).unwrap_or_else(|| panic!("{pointer} is missing"));
        for (name, _) in response["headers"].as_object().into_iter().flatten() {
            let is_optional = name == "Retry-After";
            assert!(is_optional || answer.headers.contains_key(name), "without {name}: {what}");
        }
        if answer.status < 300 {
            self.called.insert(format!("{method} {path}"));
        }
        // What has no body may say what its media type would be.
        let is_bare = method == "head" || response["content"].is_null();
        if answer.text.is_empty() && (is_bare || !answer.headers.contains_key("content-type")) {
            let own = response["description"].as_str().unwrap_or_default();
            assert!(is_bare || own.contains("no body"), "without a body: {what}");
            return;
        }
        let media_type =
            answer.header("content-type").split(';').next().unwrap_or_default().trim().to_owned();
        let content = &response["content"][&media_type];
        assert!(!content.is_null(), "{media_type} is not described: {what}");
        if content["schema"].is_object() {
            let body = if media_type.ends_with("json") { answer.json() } else { answer.text.clone().into() };
            let pointer = format!("{pointer}/content/{}/schema", escaped(&media_type));
            self.validate(&pointer, &body).unwrap_or_else(|wrong| panic!("{what}\n{wrong}"));
        }
    }

    /// Checks a body that was accepted.
    pub(super) fn check_request(&mut self, (method, path): (&str, &str), body: &Value) {
        assert!(self.request_is_valid((method, path), body), "{method} {path} accepts {body}");
    }

    pub(super) fn request_is_valid(&mut self, (method, path): (&str, &str), body: &Value) -> bool {
        let pointer =
            format!("/paths/{}/{method}/requestBody/content/application~1json/schema", escaped(path));
        self.validate(&pointer, body).is_ok()
    }

    /// Checks the events of a stream. Returns them.
    pub(super) fn events(&mut self, text: &str) -> Vec<Value> {
        let item = self.document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
            ["itemSchema"]["$ref"]
            .as_str()
            .expect("a schema of the events")
            .trim_start_matches('#')
            .to_owned();
        let events: Vec<Value> = text.split("\n\n").filter_map(event).collect();
        for event in &events {
            self.validate(&item, event).unwrap_or_else(|wrong| panic!("{event}\n{wrong}"));
            let names = self.names_of(event);
            assert_eq!(names.len(), 1, "{event} is {names:?}");
            self.seen.extend(names);
        }
        events
    }

    /// Returns the named events that an event is, by its fields and its data.
    fn names_of(&mut self, event: &Value) -> Vec<String> {
        let names: Vec<String> = self.names().into_iter().filter(|name| name != "PublishedEvent").collect();
        let is = |contract: &mut Self, name: &String| {
            let schema = format!("/components/schemas/{name}");
            let data = serde_json::from_str(event["data"].as_str().unwrap_or_default());
            contract.validate(&schema, event).is_ok()
                && data.is_ok_and(|data| {
                    contract.validate(&format!("{schema}/properties/data/contentSchema"), &data).is_ok()
                })
        };
        let found: Vec<_> = names.into_iter().filter(|name| is(self, name)).collect();
        let is_published = self.validate("/components/schemas/PublishedEvent", event).is_ok();
        if found.is_empty() && is_published { vec!["PublishedEvent".to_owned()] } else { found }
    }

    fn names(&self) -> Vec<String> {
        let any = self.document["components"]["schemas"]["StreamEvent"]["anyOf"].as_array().unwrap();
        let name = |of: &Value| of["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        any.iter().map(name).collect()
    }

    /// Returns the operations without a success.
    pub(super) fn uncalled(&self) -> Vec<String> {
        let all = self.operations().into_iter().map(|(method, path, _)| format!("{method} {path}"));
        all.filter(|operation| !self.called.contains(operation)).collect()
    }

    /// Returns the events that were not seen.
    pub(super) fn unseen_events(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| !self.seen.contains(name)).collect()
    }

    fn validate(&mut self, pointer: &str, value: &Value) -> Result<(), String> {
        let Self { compiler, schemas, compiled, .. } = self;
        let schema = *compiled.entry(pointer.to_owned()).or_insert_with(|| {
            let place = format!("{DOCUMENT}#{}", pointer.replace('{', "%7B").replace('}', "%7D"));
            compiler.compile(&place, schemas).unwrap_or_else(|error| panic!("{place}: {error:#}"))
        });
        schemas.validate(value, schema).map_err(|wrong| format!("{wrong:#}"))
    }
}

/// Returns a path with values for its parameters. A stream is a poll, which ends.
pub(super) fn example(template: &str) -> String {
    if template == "/v1/events" {
        return format!("{template}?wait=0&session={}", super::OTHER);
    }
    let values = [
        ("{channel}", "room:1"),
        ("{user}", "7"),
        ("{session}", super::SESSION),
        ("{id}", "5-1"),
        ("{name}", "chat-1"),
    ];
    values.into_iter().fold(template.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// Returns a name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Parses a block of a stream. A block of comments has no event.
fn event(block: &str) -> Option<Value> {
    let mut fields = json!({});
    for line in block.lines().filter(|line| !line.starts_with(':')) {
        let (name, value) = line.split_once(": ").or_else(|| line.split_once(':')).unwrap_or((line, ""));
        fields[name] = match name {
            "retry" => value.parse::<u64>().unwrap().into(),
            "data" if fields["data"].is_string() => {
                format!("{}\n{value}", fields["data"].as_str().unwrap()).into()
            }
            _ => value.into(),
        };
    }
    fields.get("data").is_some_and(Value::is_string).then_some(fields)
}
