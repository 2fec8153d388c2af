//! nginx with nchan: one worker, its memory or Redis behind it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use nix::sys::signal::Signal;

use super::Running;
use super::redis::Redis;
use crate::endpoint::{Audience, Endpoint, Way};
use crate::table::core::Core;
use crate::table::environment::Environment;
use crate::table::program::{Program, free_address, streams};

/// Where distributions put the module.
const PLACES: [&str; 3] = [
    "/usr/lib/nginx/modules/ngx_nchan_module.so",
    "/usr/lib64/nginx/modules/ngx_nchan_module.so",
    "/usr/share/nginx/modules/ngx_nchan_module.so",
];

/// The module, if it is installed.
pub(in crate::table) fn module() -> Option<PathBuf> {
    PLACES.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned)
}

/// Starts it.
pub(super) fn start(
    environment: &Environment,
    audience: Audience,
    with_redis: bool,
) -> anyhow::Result<Running> {
    let module = module().context("nchan is not installed")?;
    let redis = if with_redis { Some(Redis::start(environment)?) } else { None };
    let address = free_address()?;
    let upstream = redis
        .as_ref()
        .map_or(String::new(), |redis| format!("upstream store {{ nchan_redis_server {}; }}", redis.url()));
    let pass = if with_redis { "nchan_redis_pass store;" } else { "" };
    let dir = environment.dir.display();
    let config = format!(
        "load_module {};
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log warn;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    nchan_shared_memory_size 512m;
    {upstream}
    server {{
        listen {address} backlog=16384;
        location ~ ^/sub/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; {pass} }}
        location ~ ^/pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 100; {pass} }}
    }}
}}
",
        module.display()
    );
    let path = environment.dir.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new("nginx");
    command
        .arg("-e")
        .arg(environment.dir.join("nginx-error.log"))
        .arg("-p")
        .arg(&environment.dir)
        .arg("-c")
        .arg(&path);
    // It listens before it has found its Redis.
    let is_ready = || streams(address, "/sub/probe");
    let server = Program::start(command, Core::Server, Signal::SIGTERM, &environment.dir, is_ready)?;
    let (stream, publish) = match audience {
        Audience::All => ("/sub/all", "/pub/all"),
        Audience::Each(_) => ("/sub/u{user}", "/pub/u{target}"),
    };
    let way = Way::Http { address, path: publish.into(), headers: Vec::new(), body: "{data}".into() };
    Ok(Running { endpoint: Endpoint::new(address, stream, way), server, redis })
}
