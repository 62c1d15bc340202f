//! The metadata document of a protected resource (RFC 9728), as a service of the application.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    dev::{AppService, HttpServiceFactory},
    http::header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
        CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    },
    web,
};
use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{ProtectApi, state::State};
use crate::{
    certificate::CertificateBinding,
    settings::{PlacedResource, has_placeholder},
};

/// The service of [`ProtectApi::resource_metadata`].
#[derive(Clone, Debug)]
#[must_use = "it serves nothing until it is registered with `App::service`"]
pub struct ResourceMetadata(ProtectApi);

impl ProtectApi {
    /// Returns the service of the metadata documents (RFC 9728) of all configured
    /// [resources](crate::ProtectApiBuilder::resource). Register it with `App::service`, **outside** of every mount and
    /// scope: clients fetch it without a token, at a path from the root of the host.
    ///
    /// Each document is at `/.well-known/oauth-protected-resource` and the path of its resource. Pages of any origin may
    /// fetch it (CORS). With several issuers, the resources are those of the first one.
    ///
    /// ```
    /// use actix_protect_api::ProtectApi;
    /// use actix_web::{App, HttpResponse, web};
    ///
    /// # fn main() -> Result<(), actix_protect_api::ConfigError> {
    /// let protect = ProtectApi::builder("https://issuer.example", "https://api.example/files")
    ///     .resource("https://api.example/files")
    ///     .build()?;
    /// let files = web::scope("/files")
    ///     .wrap(protect.scopes(["files:read"]))
    ///     .route("/list", web::get().to(HttpResponse::Ok));
    /// let app = App::new().service(protect.resource_metadata()).service(files);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resource_metadata(&self) -> ResourceMetadata {
        ResourceMetadata(self.clone())
    }

    /// Returns the document of a resource.
    fn document(&self, placed: &PlacedResource) -> Value {
        let resource = &placed.resource;
        let mut document = Map::new();
        document.insert("resource".to_owned(), json!(resource.url.as_str()));
        let mut list = |name: &str, values: Vec<String>| {
            // RFC 9728 section 2: members without elements are omitted.
            if !values.is_empty() {
                document.insert(name.to_owned(), json!(values));
            }
        };
        list("authorization_servers", self.authorization_servers(placed));
        list("scopes_supported", self.scopes_supported(placed));
        list("bearer_methods_supported", vec!["header".to_owned()]);
        for (name, value) in [
            ("jwks_uri", &resource.jwks_uri),
            ("resource_name", &resource.name),
            ("resource_documentation", &resource.documentation),
            ("resource_policy_uri", &resource.policy),
            ("resource_tos_uri", &resource.terms_of_service),
        ] {
            if let Some(value) = value {
                document.insert(name.to_owned(), json!(value));
            }
        }
        if self.state.settings.rules.binding == CertificateBinding::Required {
            document.insert("tls_client_certificate_bound_access_tokens".to_owned(), json!(true));
        }
        // The key was checked at start-up, so signing fails only without random numbers. A client that requires the signature
        // rejects a document without it.
        if let Some(Ok(jwt)) = resource.signer.as_ref().map(|signer| signer.sign(&document)) {
            document.insert("signed_metadata".to_owned(), json!(&*jwt));
        }
        Value::Object(document)
    }

    /// Returns the issuers as their metadata spells them. A template is no issuer.
    fn authorization_servers(&self, placed: &PlacedResource) -> Vec<String> {
        if !placed.resource.authorization_servers.is_empty() {
            return placed.resource.authorization_servers.clone();
        }
        let issuer = |state: &Arc<State>| {
            let metadata = &state.validator.metadata;
            metadata.issuer(metadata.load().as_deref()).to_owned()
        };
        self.states().iter().map(issuer).filter(|issuer| !has_placeholder(issuer)).collect()
    }

    fn scopes_supported(&self, placed: &PlacedResource) -> Vec<String> {
        let listed = placed.resource.scopes.iter().cloned();
        let replaces = self.state.settings.resources.len() > 1 && !placed.resource.scopes.is_empty();
        let mut scopes: BTreeSet<String> = listed.collect();
        if !replaces {
            for mount in self.state.mounts.all().iter().filter(|mount| !mount.is_report_only) {
                let requirements = &mount.requirements;
                let any = requirements.any_scopes.iter().flatten();
                let all = requirements.all_scopes.iter().chain(any).chain(&requirements.hinted_scopes);
                scopes.extend(all.chain(&mount.inner_scopes).map(|scope| scope.as_str().to_owned()));
            }
        }
        // It asks for a refresh token, which is no matter of the resource.
        scopes.remove("offline_access");
        scopes.into_iter().collect()
    }
}

impl HttpServiceFactory for ResourceMetadata {
    fn register(self, config: &mut AppService) {
        for index in 0..self.0.state.settings.resources.len() {
            let Some(placed) = self.0.state.settings.resources.get(index) else { continue };
            let protect = self.0.clone();
            let handler = move |request: HttpRequest| {
                let protect = protect.clone();
                async move { respond(&protect, index, &request) }
            };
            web::resource(placed.paths.clone()).to(handler).register(config);
        }
    }
}

fn respond(protect: &ProtectApi, index: usize, request: &HttpRequest) -> HttpResponse {
    let mut response = match request.method().as_str() {
        "GET" | "HEAD" => HttpResponse::Ok(),
        "OPTIONS" => HttpResponse::NoContent(),
        _ => HttpResponse::MethodNotAllowed(),
    };
    response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    match (request.method().as_str(), protect.state.settings.resources.get(index)) {
        ("GET" | "HEAD", Some(placed)) => {
            let body = protect.document(placed).to_string();
            let tag = digest::digest(&digest::SHA256, body.as_bytes());
            let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(tag));
            if is_known(request, &tag) {
                response = HttpResponse::NotModified();
                response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
            }
            response.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, "public, max-age=300"));
            response.insert_header((CONTENT_TYPE, "application/json")).body(body)
        }
        ("OPTIONS", _) => response
            .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"))
            .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "*"))
            .finish(),
        _ => response.insert_header((ALLOW, "GET, HEAD, OPTIONS")).finish(),
    }
}

/// Returns whether the client has the document (RFC 9110 section 13.1.2).
fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let values = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}
