//! Whoever is compared: the mock itself, and all that stand in front of it.

use std::{net::SocketAddr, sync::Arc};

use super::{
    chat, litellm,
    mock::Mock,
    nginx,
    program::Program,
    router::{Router, SMG, VLLM_ROUTER},
    traffic::Traffic,
};
use crate::{process::Process, service::Service};

pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    server: Server,
}

/// What it is compared as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Direct,
    /// Passes on without a look.
    Proxy,
    /// Of others.
    Gateway,
    Ours,
}

/// One that could not be measured.
pub(crate) struct Absent {
    pub(crate) name: String,
    pub(crate) why: anyhow::Error,
}

enum Server {
    Mock(Arc<Mock>),
    Program(Program),
    Service(Service),
}

/// All that start: the mock first. Those of others may not; without ours there is nothing to show.
pub(crate) fn start(mock: &Arc<Mock>) -> anyhow::Result<(Vec<Contender>, Vec<Absent>)> {
    let direct = Server::Mock(Arc::clone(mock));
    let direct = Contender { name: "direct".to_owned(), kind: Kind::Direct, server: direct };
    let (mut contenders, mut absent) = (vec![direct], Vec::new());
    let mut others = |name: &str, kind, started: anyhow::Result<(String, Program)>| match started {
        Ok((version, program)) => {
            let name = format!("{name} {version}");
            contenders.push(Contender { name, kind, server: Server::Program(program) });
        }
        Err(why) => absent.push(Absent { name: name.to_owned(), why }),
    };
    eprintln!("gateway: starting nginx");
    others("nginx", Kind::Proxy, nginx::start(mock.address));
    for router in [SMG, VLLM_ROUTER] {
        let Router { name, version, .. } = router;
        eprintln!("gateway: starting {name}");
        let started = router.start(mock.address);
        others(name, Kind::Gateway, started.map(|program| (version.to_owned(), program)));
    }
    eprintln!("gateway: starting litellm");
    let started = litellm::start(mock.address);
    let version = litellm::VERSION.to_owned();
    others("litellm", Kind::Gateway, started.map(|program| (version, program)));
    eprintln!("gateway: starting thermograph");
    let server = Server::Service(ours(mock.address)?);
    contenders.push(Contender { name: "thermograph".to_owned(), kind: Kind::Ours, server });
    Ok((contenders, absent))
}

fn ours(upstream: SocketAddr) -> anyhow::Result<Service> {
    let service = Service::with(&format!(
        "[upstreams.mock]\nurl = \"http://{upstream}\"\n[models.\"{}\"]\nupstreams = [\"mock\"]\n",
        chat::MODEL
    ))?;
    Traffic::new()?.ask(service.addresses.api, &chat::request(false))?;
    Ok(service)
}

impl Contender {
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Mock(mock) => mock.address,
            Server::Program(program) => program.address,
            Server::Service(service) => service.addresses.api,
        }
    }

    /// Whose processor time counts.
    pub(crate) fn process(&self) -> &Process {
        match &self.server {
            Server::Mock(mock) => &mock.process,
            Server::Program(program) => &program.process,
            Server::Service(service) => &service.process,
        }
    }
}
