//! Authorization: with keys, a request needs one and is kept to its limits; without keys, only programs on this machine are
//! served, and no web pages of other origins.
//!
//! A server without a key listens on loopback only, where the danger is a browser: any page can send requests to
//! 127.0.0.1, under its own name (DNS rebinding) or across origins. Both show in the headers, which a page can't forge.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::keys::{Admission, Key, KeyPermit, Keys};
use super::trace::{GuardedBody, RequestNotes};
use super::{App, Backend};

/// Middleware: rejects unauthorized requests before their body is read.
pub(super) async fn authorize<B: Backend>(State(app): State<Arc<App<B>>>, request: Request, next: Next) -> Response {
    if app.keys.is_empty() {
        let verdict = check_host(request.uri(), request.headers()).and_then(|()| check_origin(request.headers()));
        return match verdict {
            Ok(()) => next.run(request).await,
            Err(error) => error.into_response(),
        };
    }
    if !needs_key(request.uri().path()) {
        return next.run(with_key_name(&app.keys, request)).await;
    }
    match check_key(&app.keys, request.headers()) {
        Ok(key) => run_with_key(&app, key, request, next).await,
        Err(error) => ([(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))], error).into_response(),
    }
}

/// Probes and metrics need no key, so that supervisors and scrapers need none. They expose counts and states, and never a
/// path, a prompt or a model that a client sent. `/health` shows more to requests with a key.
fn needs_key(path: &str) -> bool {
    !matches!(path, "/health" | "/livez" | "/readyz" | "/metrics")
}

/// Adds the key's name to a request that needs no key, if it has a valid one.
fn with_key_name(keys: &Keys, mut request: Request) -> Request {
    if let Ok(key) = check_key(keys, request.headers()) {
        request.extensions_mut().insert(key.name().clone());
    }
    request
}

/// Whether the route needs an admin key.
fn is_admin_route(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

/// Runs a request within the limits of its key. Its permit is released with the last byte of its reply.
async fn run_with_key<B: Backend>(app: &App<B>, key: &Key, mut request: Request, next: Next) -> Response {
    if let Some(notes) = request.extensions().get::<RequestNotes>() {
        notes.set_key(key.name().clone());
    }
    if is_admin_route(request.uri().path()) && !key.is_admin() {
        return ApiError::not_an_admin(key.name().as_str()).into_response();
    }
    request.extensions_mut().insert(key.name().clone());
    // Only requests that can cost a turn count against the key's limits.
    if request.method() != Method::POST || !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    match admit_request(app, key, request).await {
        Ok((request, place)) => next.run(request).await.map(|body| Body::new(GuardedBody { body, _guard: place })),
        Err(error) => error.into_response(),
    }
}

async fn admit_request<B: Backend>(
    app: &App<B>,
    key: &Key,
    request: Request,
) -> Result<(Request, KeyPermit), ApiError> {
    match key.admit_request()? {
        Admission::Now(place) => Ok((request, place)),
        Admission::Queued(queued) => {
            // hyper notices that a client has disconnected only once the request's body has been read.
            let request = app.bodies.prefetch(request).await?;
            let place = queued.wait_for_permit(app.config.queue_timeout).await?;
            Ok((request, place))
        }
    }
}

fn check_key<'a>(keys: &'a Keys, headers: &HeaderMap) -> Result<&'a Key, ApiError> {
    // OpenAI's wording: LiteLLM recognizes a wrong key by it, and takes any other message for a bad request.
    let unauthorized = |message: &str| ApiError::invalid(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
    let given = headers.get(AUTHORIZATION).and_then(|value| bearer_key(value.as_bytes()));
    let given =
        given.ok_or_else(|| unauthorized("Incorrect API key provided: none. Send `Authorization: Bearer KEY`"))?;
    keys.find(given).ok_or_else(|| unauthorized("Incorrect API key provided"))
}

fn bearer_key(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key.trim_ascii())
}

/// A rebound name arrives in `Host`; an address can't be rebound. A request without `Host` comes from no browser.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let named = headers.get_all(HOST).iter().map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    for authority in named.chain(uri.authority().cloned().map(Some)) {
        if !authority.is_some_and(|authority: Authority| is_localhost(&authority) || ip_address(&authority).is_some()) {
            let message = "without a key, the `Host` header must be an IP address or `localhost`";
            return Err(ApiError::invalid(StatusCode::FORBIDDEN, "foreign_host", message));
        }
    }
    Ok(())
}

/// Only browsers send `Origin`.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    for origin in headers.get_all(ORIGIN) {
        let authority = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok()?.into_parts().authority);
        let own = authority.is_some_and(|authority| {
            is_localhost(&authority) || ip_address(&authority).is_some_and(|address| address.is_loopback())
        });
        if !own {
            let message = "requests from web pages of other origins need a key: start the server with `--api-key`";
            return Err(ApiError::invalid(StatusCode::FORBIDDEN, "foreign_origin", message));
        }
    }
    Ok(())
}

fn is_localhost(authority: &Authority) -> bool {
    authority.host().eq_ignore_ascii_case("localhost")
}

fn ip_address(authority: &Authority) -> Option<IpAddr> {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}
