//! The API described to whoever asks, so that tools can call it without its `.proto` files.
//! Never tells anything of keys, users or members.
//!
//! # Source
//! gRPC's server reflection protocol, versions `v1` and `v1alpha`.

use tonic::service::Routes;
use tonic_reflection::server::Builder;

use crate::generated::descriptors::FILES;

/// Both versions of the service, for messages up to this size: newer tools ask for the first, older ones
/// for the second.
pub fn services(message_bytes_max: usize) -> Routes {
    let described = || Builder::configure().register_encoded_file_descriptor_set(FILES);
    let newer = described().build_v1();
    let older = described().build_v1alpha();
    let newer = newer.expect("the description is generated");
    let older = older.expect("the description is generated");
    Routes::new(newer.max_decoding_message_size(message_bytes_max))
        .add_service(older.max_decoding_message_size(message_bytes_max))
}
