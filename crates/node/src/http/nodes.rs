//! `GET /v1/nodes`: the cluster's nodes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use fanfare_api::nodes::{Node, NodeList};
use fanfare_broker::NodeInfo;
use fanfare_protocol::rights::Right;
use http::HeaderMap;

use super::app::App;
use super::params::Params;
use super::problem::Problem;
use crate::address::ClientAddress;

/// Handles `GET`.
///
/// # Errors
///
/// Fails if the bearer is not an admin, or if the broker is unavailable.
pub async fn nodes(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<NodeList>, Problem> {
    let params = Params::parse(query.as_deref(), &[], &[])?;
    if !app.bearer(&headers, &params, address).await?.grants.admin.has(Right::Look) {
        return Err(Problem::no_grant("listing the nodes needs admin, or its right look"));
    }
    let nodes = app.broker.nodes().await?.into_iter().map(node).collect();
    Ok(Json(NodeList { nodes }))
}

fn node(info: NodeInfo) -> Node {
    let NodeInfo { id, address, since, connections, draining, incarnation: _ } = info;
    Node { id: id.to_string(), address, since, connections, draining }
}
