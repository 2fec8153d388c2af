//! Pushpin: its usual processes, and an origin that holds every stream.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{Running, origin};
use crate::endpoint::{Audience, Endpoint, Way};
use crate::table::core::Core;
use crate::table::environment::Environment;
use crate::table::program::{Program, free_address, listens, streams};

const PROGRAM: &str = "/usr/bin/pushpin";

/// Whether it is installed.
pub(in crate::table) fn is_here() -> bool {
    Path::new(PROGRAM).exists()
}

/// Starts it.
pub(super) fn start(environment: &Environment, audience: Audience) -> anyhow::Result<Running> {
    let (address, publish) = (free_address()?, free_address()?);
    let (push, subscribe, command_port) = (free_address()?, free_address()?, free_address()?);
    let origin = origin::start()?;
    let dir = environment.dir.join("pushpin");
    fs::create_dir_all(dir.join("run"))?;
    fs::write(dir.join("routes"), format!("* {origin}\n"))?;
    let shown = dir.display();
    let config = format!(
        "[global]
include={{libdir}}/internal.conf
rundir={shown}/run
ipc_prefix=bench-
port_offset=0
stats_connection_ttl=120
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port={address}
logdir={shown}
log_level=1
client_buffer_size=8192
client_maxconn=8000
condure_bin=condure
zurl_bin=zurl
[proxy]
routesfile={shown}/routes
debug=false
zurl_out_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in
zurl_out_stream_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in-stream
zurl_in_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-out
[handler]
push_in_spec=tcp://{push}
push_in_sub_specs=tcp://{subscribe}
push_in_sub_connect=false
push_in_http_addr=127.0.0.1
push_in_http_port={}
push_in_http_max_headers_size=10000
push_in_http_max_body_size=1000000
stats_spec=ipc://{{rundir}}/{{ipc_prefix}}stats
command_spec=tcp://{command_port}
message_rate=100000000
message_hwm=25000
message_wait=5000
id_cache_ttl=60
connection_subscription_max=20
subscription_linger=60
stats_subscription_ttl=60
stats_report_interval=10
stats_format=tnetstring
",
        publish.port()
    );
    fs::write(dir.join("pushpin.conf"), config)?;
    let mut command = Command::new(PROGRAM);
    command.arg(format!("--config={}", dir.join("pushpin.conf").display()));
    let is_ready = || listens(publish) && streams(address, "/probe");
    let server = Program::start(command, Core::Server, Signal::SIGTERM, &environment.dir, is_ready)?;
    let (stream, channel) = match audience {
        Audience::All => ("/all", "all"),
        Audience::Each(_) => ("/u{user}", "u{target}"),
    };
    let content = r"data: {escaped}\n\n";
    let body = format!(
        r#"{{"items":[{{"channel":"{channel}","formats":{{"http-stream":{{"content":"{content}"}}}}}}]}}"#
    );
    let headers = vec!["Content-Type: application/json".to_owned()];
    let way = Way::Http { address: publish, path: "/publish/".into(), headers, body };
    Ok(Running { endpoint: Endpoint::new(address, stream, way), server, redis: None })
}
