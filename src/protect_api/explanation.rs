//! A table of the mounts of a configuration and of their requirements.

use std::{fmt, sync::Arc};

use super::{Mount, ProtectApi};
use crate::claims::scope::Scope;

/// The mounts that were built, and their requirements. See [`ProtectApi::explain`].
///
/// `Display` prints one line for each mount.
#[derive(Clone, Debug)]
pub struct Explanation(Vec<Arc<Mount>>);

impl ProtectApi {
    /// Names the routes inside this mount, such as `"POST /posts"`, for [`explain`](Self::explain). They have no effect on
    /// requests: actix does not tell a mount its path.
    pub fn routes<S: Into<String>>(&self, routes: impl IntoIterator<Item = S>) -> Self {
        let mut routes: Vec<String> = routes.into_iter().map(Into::into).collect();
        self.mounted(|mount| mount.routes.append(&mut routes))
    }

    /// Returns the mounts that were built until now, with their requirements: one for each different combination. Call it
    /// after the `App` was built. The requirements of extractors and handlers are not included, unless
    /// the mount names the type of the handler with [`scoped`](Self::scoped).
    ///
    /// ```
    /// use actix_protect_api::{ProtectApi, test::assert_protected};
    /// use actix_web::{App, HttpResponse, test, web};
    ///
    /// # #[actix_web::main] async fn main() {
    /// let protect = ProtectApi::builder("https://issuer.example", "my-api").build().unwrap();
    /// let posts = protect.scopes(["posts:write"]).routes(["POST /posts"]);
    /// let app = test::init_service(
    ///     App::new().service(
    ///         web::resource("/posts").wrap(posts).route(web::post().to(HttpResponse::Ok)),
    ///     ),
    /// )
    /// .await;
    /// let explanation = protect.explain();
    /// assert_eq!(explanation.to_string(), "POST /posts: scopes posts:write\n");
    /// assert_protected(&app, &explanation.routes(), &[]).await;
    /// # }
    /// ```
    pub fn explain(&self) -> Explanation {
        Explanation(self.state.mounts.all())
    }
}

impl Explanation {
    /// Returns the named routes of all mounts, for `test::assert_protected`. Each name occurs once.
    pub fn routes(&self) -> Vec<&str> {
        let mut routes = Vec::new();
        for route in self.0.iter().flat_map(|mount| &mount.routes) {
            if !routes.contains(&route.as_str()) {
                routes.push(route);
            }
        }
        routes
    }

    /// Returns the sets of scopes of which a token needs one complete set for this route, for the `security` of an OpenAPI
    /// operation; `None` if no mount names the route. Without [`any_scope`](ProtectApi::any_scope) there is one set. It is
    /// empty if a valid token is sufficient.
    ///
    /// If nested mounts name the route, each set contains the scopes of all of them. Whether the token is optional is not part of
    /// the result; `Display` prints it.
    ///
    /// ```
    /// use actix_protect_api::ProtectApi;
    /// use actix_web::{App, HttpResponse, test, web};
    ///
    /// # #[actix_web::main] async fn main() {
    /// let protect = ProtectApi::builder("https://issuer.example", "my-api").build().unwrap();
    /// let posts = protect
    ///     .scopes(["posts"])
    ///     .any_scope(["read", "write"])
    ///     .routes(["GET /posts"]);
    /// let posts = web::resource("/posts").wrap(posts).route(web::get().to(HttpResponse::Ok));
    /// let app = test::init_service(App::new().service(posts)).await;
    /// let explanation = protect.explain();
    /// let sets = explanation.scope_sets("GET /posts").unwrap();
    /// assert_eq!(sets, [["posts", "read"], ["posts", "write"]]);
    /// assert_eq!(explanation.scope_sets("GET /other"), None);
    /// # }
    /// ```
    pub fn scope_sets(&self, route: &str) -> Option<Vec<Vec<&str>>> {
        let names = |mount: &&Arc<Mount>| mount.routes.iter().any(|name| name == route);
        let mut mounts = self.0.iter().filter(names).peekable();
        mounts.peek()?;
        let mut sets: Vec<Vec<&str>> = vec![Vec::new()];
        let enforced = mounts.map(|mount| &**mount).filter(|mount| !mount.is_report_only);
        for Mount { requirements, .. } in enforced {
            let all = requirements.all_scopes.iter().map(std::slice::from_ref);
            let any = requirements.any_scopes.iter().filter(|any| !any.is_empty()).map(Vec::as_slice);
            for alternatives in all.chain(any) {
                sets =
                    sets.iter().flat_map(|set| alternatives.iter().map(|scope| with(set, scope))).collect();
            }
        }
        Some(sets)
    }
}

/// Returns the set with this scope.
fn with<'s>(set: &[&'s str], scope: &'s Scope) -> Vec<&'s str> {
    let mut set = set.to_vec();
    if !set.contains(&scope.as_str()) {
        set.push(scope.as_str());
    }
    set
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|mount| writeln!(f, "{mount}"))
    }
}

/// Prints the routes and the requirements.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requirements = &self.requirements;
        let names = |scopes: &[Scope]| scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
        let mut parts = Vec::new();
        if self.is_optional {
            parts.push("the token is optional".to_owned());
        }
        if !requirements.all_scopes.is_empty() {
            parts.push(format!("scopes {}", names(&requirements.all_scopes)));
        }
        for any in requirements.any_scopes.iter().filter(|any| !any.is_empty()) {
            parts.push(format!("one of the scopes {}", names(any)));
        }
        if !self.inner_scopes.is_empty() {
            parts.push(format!("operations with the scopes {}", names(&self.inner_scopes)));
        }
        for groups in requirements.groups.iter().filter(|groups| !groups.is_empty()) {
            parts.push(format!("groups {groups:?}"));
        }
        for contexts in requirements.step_up.contexts.iter().filter(|contexts| !contexts.is_empty()) {
            parts.push(format!("acr {}", contexts.join(" ")));
        }
        if let Some(within) = requirements.step_up.within {
            parts.push(format!("authenticated within {within} s"));
        }
        if self.is_report_only && !parts.is_empty() {
            parts.push("only reported".to_owned());
        }
        if let Some(age) = self.max_age {
            parts.push(format!("a verdict of at most {age:?}"));
        }
        if parts.is_empty() {
            parts.push("a valid token".to_owned());
        }
        let routes =
            if self.routes.is_empty() { "(routes not named)".to_owned() } else { self.routes.join(", ") };
        write!(f, "{routes}: {}", parts.join("; "))
    }
}
