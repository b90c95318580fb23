//! What a server says about itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::openai::{ModelCard, ModelList};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::state::Server;

/// The content type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn health(State(server): State<Arc<Server>>) -> Result<StatusCode, ApiError> {
    server.health().map(|_| StatusCode::OK)
}

pub(super) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

/// Requests in flight, as vLLM's `--enable-server-load-tracking` counts them.
pub(super) async fn load(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(json!({"server_load": *server.in_flight.borrow()}))
}

pub(super) async fn models(State(server): State<Arc<Server>>) -> Result<Json<ModelList>, ApiError> {
    let ready = server.health()?;
    let name = &server.config.served_model_name;
    Ok(Json(ModelList::of(ModelCard::new(name, server.created, ready.max_model_len))))
}

pub(super) async fn metrics(State(server): State<Arc<Server>>) -> Result<Response, ApiError> {
    let page = server.telemetry.page(server.clock.now()).map_err(ApiError::RecorderBroken)?;
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], page).into_response())
}

/// Only where the operator asked for it; otherwise the path does not exist.
pub(super) async fn timelines(State(server): State<Arc<Server>>) -> Response {
    match server.telemetry.timelines() {
        Some(timelines) => Json(timelines).into_response(),
        None => super::not_found().await,
    }
}
