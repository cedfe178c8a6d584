//! A client of the diagnostics: blocking, one GET at a time.

use std::{io::ErrorKind, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use http::{HeaderValue, Uri};
use thermograph::Token;
use thermograph_common::pem;
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::config::read_secret;

/// How long connecting may take, and an answer beyond the time that was asked for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the diagnostics are, and the token that opens them.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Where the diagnostics of the service are.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6060", value_parser = url)]
    pub url: String,
    /// The token, if they want one.
    #[command(flatten)]
    pub token: TokenArgs,
    /// File of the authorities in PEM that are trusted with https:// [default: public ones].
    #[arg(long, value_name = "FILE", value_parser = authorities)]
    pub ca_file: Option<RootCerts>,
}

/// The token of the diagnostics, or the file that holds it.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct TokenArgs {
    /// Token of the diagnostics.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "THERMOGRAPH_DIAGNOSTICS_TOKEN",
        hide_env_values = true
    )]
    token: Option<Token>,
    /// File that holds the token.
    #[arg(
        long,
        value_name = "FILE",
        env = "THERMOGRAPH_DIAGNOSTICS_TOKEN_FILE",
        conflicts_with = "token",
        value_parser = held_token
    )]
    token_file: Option<Token>,
}

/// A client of one service's diagnostics.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    token: Option<Token>,
    agent: Agent,
}

impl Client {
    /// A client of the diagnostics at `url`, which shows the `token` if there is one.
    pub fn new(url: &str, token: Option<&Token>) -> Self {
        Self::trusting(url, token, RootCerts::WebPki)
    }

    fn trusting(url: &str, token: Option<&Token>, authorities: RootCerts) -> Self {
        let agent = Agent::config_builder()
            // A status is read together with the text that explains it.
            .http_status_as_error(false)
            // A proxy in the environment is for the world; this is for the machine at hand.
            .proxy(None)
            .timeout_connect(Some(PATIENCE))
            .tls_config(TlsConfig::builder().root_certs(authorities).build())
            .build()
            .new_agent();
        let token = token.filter(|token| !token.is_none()).cloned();
        Self { url: url.trim_end_matches('/').to_owned(), token, agent }
    }

    /// Gets a path whose answer takes `wait` to come: the window of a capture.
    pub fn get(&self, path: &str, wait: Duration) -> anyhow::Result<Vec<u8>> {
        let (status, body) = self.answer(path, wait)?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        bail!("{}{path} answers {status}: {}", self.url, String::from_utf8_lossy(&body).trim());
    }

    /// Gets a path: the status and the body, whatever they are.
    pub fn answer(&self, path: &str, wait: Duration) -> anyhow::Result<(u16, Vec<u8>)> {
        let url = format!("{}{path}", self.url);
        let request = self.agent.get(&url).config().timeout_global(Some(wait + PATIENCE)).build();
        let request = match &self.token {
            Some(token) => request.header("authorization", bearer(token)?),
            None => request,
        };
        let mut response = request.call().map_err(|error| self.explained(error))?;
        // Flame graphs of large programs are more than the default of 10 MB.
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec();
        let body = body.with_context(|| format!("{url} broke off"))?;
        Ok((response.status().as_u16(), body))
    }

    fn explained(&self, error: ureq::Error) -> anyhow::Error {
        let refused = matches!(&error, ureq::Error::ConnectionFailed)
            || matches!(&error, ureq::Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused);
        let context = if refused {
            format!(
                "nothing answers at {} (is the service running? Its diagnostics are at \
                 http://127.0.0.1:6060 unless diagnostics.listen says otherwise)",
                self.url
            )
        } else {
            format!("cannot ask {}", self.url)
        };
        anyhow::Error::from(error).context(context)
    }
}

impl From<&Args> for Client {
    fn from(args: &Args) -> Self {
        let authorities = args.ca_file.clone().unwrap_or(RootCerts::WebPki);
        Self::trusting(&args.url, args.token.get(), authorities)
    }
}

impl TokenArgs {
    /// The token, if there is one.
    pub fn get(&self) -> Option<&Token> {
        self.token.as_ref().or(self.token_file.as_ref())
    }
}

fn authorities(file: &str) -> Result<RootCerts, String> {
    let certificates = pem::certificates(Path::new(file))
        .map_err(|why| format!("expected a file with certificates in PEM ({why})"))?;
    Ok(certificates.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).into())
}

/// The token in a file; an empty path is none, as for the server.
fn held_token(file: &str) -> Result<Token, String> {
    if file.is_empty() {
        return Ok(Token::default());
    }
    read_secret(Path::new(file)).map(Token::new).map_err(|allowed| format!("expected {allowed}"))
}

/// What is wrong with a token is said without it.
fn bearer(token: &Token) -> anyhow::Result<HeaderValue> {
    HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        .ok()
        .context("--token: it has characters that no header can carry")
}

/// Where diagnostics can be: there is no path behind a URL that is none.
pub(crate) fn url(text: &str) -> Result<String, &'static str> {
    let uri = text.parse::<Uri>().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    if scheme.is_some_and(|scheme| ["http", "https"].contains(&scheme)) {
        return Ok(text.to_owned());
    }
    Err("a URL such as http://127.0.0.1:6060 is wanted")
}

/// A text as it stands in a query.
pub(crate) fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// Answers one request with these bytes, and gives back the request.
    fn serve(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 4096];
            let length = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("an answer");
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        });
        (url, served)
    }

    #[test]
    fn shows_the_token_and_gives_the_body() {
        let (url, served) = serve("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody");
        let body =
            Client::new(&url, Some(&Token::new("secret"))).get("/debug/spans", Duration::ZERO);
        assert_eq!(body.expect("a body"), b"body");
        let request = served.join().expect("served");
        assert!(request.starts_with("get /debug/spans "), "{request}");
        assert!(request.contains("authorization: bearer secret"), "{request}");
    }

    #[test]
    fn an_error_has_the_status_and_what_the_server_said() {
        let (url, _served) = serve("HTTP/1.1 409 Conflict\r\ncontent-length: 9\r\n\r\nrunning.\n");
        let error = Client::new(&url, None).get("/x", Duration::ZERO).expect_err("refused");
        let error = error.to_string();
        assert!(error.ends_with("/x answers 409: running."), "{error}");
    }

    #[test]
    fn nobody_there_is_explained() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let error = Client::new(&url, None).get("/x", Duration::ZERO).expect_err("refused");
        assert!(error.to_string().contains("is the service running?"), "{error:#}");
    }

    #[test]
    fn a_route_is_escaped_in_a_query() {
        assert_eq!(escaped("/v1/models/{id}&x=ä"), "/v1/models/%7Bid%7D%26x%3D%C3%A4");
    }
}
