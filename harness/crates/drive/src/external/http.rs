//! One request without a body, on a connection of its own: readiness, idleness, a restart.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::settings::Url;

/// The longest answer that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// Asks, and reads the answer until `deadline`.
pub(super) async fn ask(
    url: &Url,
    method: &Method,
    path: &str,
    key: Option<&str>,
    deadline: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let late = |_| format!("no answer within {} s", deadline.as_secs());
    timeout(deadline, exchange(url, method, &url.path(path), key)).await.map_err(late)?
}

async fn exchange(url: &Url, method: &Method, path: &str, key: Option<&str>) -> Result<(StatusCode, Bytes), String> {
    let stream = TcpStream::connect(url.address).await.map_err(|error| format!("cannot connect: {error}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("cannot connect: {error}"))?;
    let mut request =
        Request::builder().method(method).uri(path).header(header::HOST, &url.host).header(header::CONNECTION, "close");
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("cannot ask for {path}: {error}"))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        Ok((status, body.map_err(|error| format!("its answer breaks off: {error}"))?.to_bytes()))
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        // Whatever ended the connection is what the answer says.
        _ = &mut connection => answer.await,
    }
}
