//! The server as its clients and its operator see it: one process, real sockets, a real disk.

mod api;
mod certs;
mod closed_pipe;
mod dev;
mod disk;
mod import;
mod members;
mod peer_port;
mod range_stream;
mod reflection;
mod settings;
mod start;
mod strangers;
mod streams;
mod support;

use headwater_api as generated;
