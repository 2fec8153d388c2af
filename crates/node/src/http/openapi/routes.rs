//! Routes with their descriptions.

use std::convert::Infallible;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};

use super::call::Call;

/// Makes the description of an operation.
pub(in crate::http) type Describe = fn() -> Call;

/// A route as the document has it.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Described {
    /// Path, with parameters in braces.
    pub(in crate::http) path: &'static str,
    /// Method, in lower case.
    pub(in crate::http) method: &'static str,
    /// Makes the description.
    pub(in crate::http) describe: Describe,
    /// Whether only the admin listener serves it, if there is one.
    pub(in crate::http) inside: bool,
}

/// Routes, each with a description of each method.
pub(in crate::http) struct Routes<S> {
    router: Router<S>,
    described: Vec<Described>,
}

/// The methods of a route.
pub(in crate::http) struct Methods<S> {
    router: MethodRouter<S, Infallible>,
    described: Vec<(&'static str, Describe)>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub(in crate::http) fn new() -> Self {
        Self { router: Router::new(), described: Vec::new() }
    }

    /// Adds a route.
    pub(in crate::http) fn route(mut self, path: &'static str, methods: Methods<S>) -> Self {
        let Methods { router, described } = methods;
        let of = |(method, describe)| Described { path, method, describe, inside: false };
        self.described.extend(described.into_iter().map(of));
        Self { router: self.router.route(path, router), ..self }
    }

    /// Marks all routes as those of the admin listener.
    pub(in crate::http) fn inside(mut self) -> Self {
        self.described.iter_mut().for_each(|route| route.inside = true);
        self
    }

    /// Returns the paths, each once.
    pub(in crate::http) fn paths(&self) -> Vec<&'static str> {
        let mut paths: Vec<_> = self.described.iter().map(|route| route.path).collect();
        paths.dedup();
        paths
    }

    /// Returns the descriptions.
    pub(in crate::http) fn described(self) -> Vec<Described> {
        self.described
    }

    /// Returns the router.
    pub(in crate::http) fn into_router(self) -> Router<S> {
        self.router
    }
}

/// Routes `GET` to a handler, which `describe` describes.
pub(in crate::http) fn get<S, H, T>(handler: H, describe: Describe) -> Methods<S>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
    T: 'static,
{
    Methods { router: routing::get(handler), described: vec![("get", describe)] }
}

/// Routes `POST` to a handler, which `describe` describes.
pub(in crate::http) fn post<S, H, T>(handler: H, describe: Describe) -> Methods<S>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
    T: 'static,
{
    Methods::new().post(handler, describe)
}

/// Routes `PUT` to a handler, which `describe` describes.
pub(in crate::http) fn put<S, H, T>(handler: H, describe: Describe) -> Methods<S>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
    T: 'static,
{
    Methods { router: routing::put(handler), described: vec![("put", describe)] }
}

/// Routes `DELETE` to a handler, which `describe` describes.
pub(in crate::http) fn delete<S, H, T>(handler: H, describe: Describe) -> Methods<S>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
    T: 'static,
{
    Methods::new().delete(handler, describe)
}

impl<S: Clone + Send + Sync + 'static> Methods<S> {
    fn new() -> Self {
        Self { router: MethodRouter::new(), described: Vec::new() }
    }

    /// Adds `GET`.
    pub(in crate::http) fn get<H: Handler<T, S>, T: 'static>(self, handler: H, describe: Describe) -> Self {
        let Self { router, mut described } = self;
        described.push(("get", describe));
        Self { router: router.get(handler), described }
    }

    /// Adds `HEAD`, in place of that of `GET`.
    pub(in crate::http) fn head<H: Handler<T, S>, T: 'static>(self, handler: H, describe: Describe) -> Self {
        let Self { router, mut described } = self;
        described.push(("head", describe));
        Self { router: router.head(handler), described }
    }

    /// Adds `POST`.
    pub(in crate::http) fn post<H: Handler<T, S>, T: 'static>(self, handler: H, describe: Describe) -> Self {
        let Self { router, mut described } = self;
        described.push(("post", describe));
        Self { router: router.post(handler), described }
    }

    /// Adds `DELETE`.
    pub(in crate::http) fn delete<H: Handler<T, S>, T: 'static>(
        self,
        handler: H,
        describe: Describe,
    ) -> Self {
        let Self { router, mut described } = self;
        described.push(("delete", describe));
        Self { router: router.delete(handler), described }
    }
}
