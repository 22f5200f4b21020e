//! What keeps a node from starting, and that a second try finds nothing in its way.

mod common;

use std::net::TcpListener;
use std::time::Duration;

use common::{Cluster, Journal};
use headwater_runtime::{Handle, NodeConfig, NodeId, StartError};

fn plain(_: &mut NodeConfig) {}

async fn refusal(config: NodeConfig) -> StartError {
    match Handle::<Journal>::start(config).await {
        Ok(_) => panic!("it started"),
        Err(e) => e,
    }
}

#[tokio::test]
async fn a_directory_of_another_cluster_or_node_is_refused_and_left_alone() {
    let mut cluster = Cluster::started(1, plain).await;
    cluster
        .node(1)
        .propose("kept".into())
        .await
        .expect("applied");
    cluster.stop(1).await;

    let mut other_cluster = cluster.config(1);
    other_cluster.cluster = 0xbad;
    let mut other_node = cluster.config(1);
    other_node.node = NodeId(2);
    other_node.members.insert(NodeId(2), "127.0.0.1:1".into());
    for config in [other_cluster, other_node] {
        let path = config.data_dir.display().to_string();
        let error = refusal(config).await;
        assert!(matches!(error, StartError::ForeignData(_)), "{error:?}");
        assert!(error.to_string().contains(&path), "{error}");
    }
    cluster.start(1).await;
    assert_eq!(cluster.settled().await, ["kept"]);
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let cluster = Cluster::started(1, plain).await;
    let mut config = cluster.config(1);
    config.listen_peer.clear();
    let error = refusal(config).await;
    assert!(
        matches!(&error, StartError::Locked(path) if *path == cluster.data_dir(1)),
        "{error}"
    );
}

#[tokio::test]
async fn a_taken_port_is_named_and_the_directory_stays_free() {
    let mut cluster = Cluster::new(1, plain);
    let address = cluster.members[&NodeId(1)];
    let taken = TcpListener::bind(address).expect("free until now");
    let error = refusal(cluster.config(1)).await;
    assert!(
        matches!(error, StartError::Listen(at, _) if at == address),
        "{error:?}"
    );
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    drop(taken);
    cluster.start(1).await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let cluster = Cluster::new(1, plain);
    let mut config = cluster.config(1);
    let file = cluster.directory.path().join("file");
    std::fs::write(&file, "in the way").expect("written");
    config.data_dir = file.join("data");
    let error = refusal(config.clone()).await;
    assert!(matches!(error, StartError::Disk(_)), "{error:?}");
    let path = config.data_dir.display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
}

#[tokio::test]
async fn a_directory_of_foreign_files_is_refused_and_left_as_it_is() {
    let mut cluster = Cluster::new(1, plain);
    let directory = cluster.data_dir(1);
    let names = |directory| {
        let entries = std::fs::read_dir(directory).expect("it is there");
        entries.map(|e| e.expect("an entry").file_name()).collect()
    };
    // etcd's, and anyone's.
    for (file, named) in [("member/wal/0.tmp", "etcd's data"), ("lock2", "lock2")] {
        let path = directory.join(file);
        let folder = path.parent().expect("it has one");
        std::fs::create_dir_all(folder).expect("made");
        std::fs::write(&path, "theirs").expect("written");
        let before: Vec<_> = names(&directory);
        let error = refusal(cluster.config(1)).await;
        assert!(matches!(error, StartError::Occupied(_)), "{error:?}");
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(before, names(&directory));
        std::fs::remove_dir_all(&directory).expect("removed");
    }
    std::fs::create_dir_all(directory.join("lost+found")).expect("made");
    cluster.start(1).await;

    let mut config = cluster.config(1);
    config.listen_peer.clear();
    config.data_dir = cluster.directory.path().join("file");
    std::fs::write(&config.data_dir, "in the way").expect("written");
    let error = refusal(config).await;
    assert!(matches!(error, StartError::Occupied(_)), "{error:?}");
    assert!(
        error.to_string().contains("a file, not a directory"),
        "{error}"
    );
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_is_refused() {
    let cluster = Cluster::new(3, plain);
    let changes: [fn(&mut NodeConfig); 7] = [
        |c| c.node = NodeId(0),
        |c| c.node = NodeId(4),
        |c| c.listen_peer.clear(),
        |c| c.heartbeat = Duration::ZERO,
        |c| c.election = c.heartbeat,
        |c| c.request_timeout = Duration::ZERO,
        |c| c.command_bytes_max = 1 << 30,
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut config = cluster.config(1);
        change(&mut config);
        let error = refusal(config).await;
        assert!(
            matches!(error, StartError::Config(_)),
            "change {i}: {error:?}"
        );
        assert!(
            !cluster.data_dir(1).exists(),
            "change {i} left something behind"
        );
    }
}
