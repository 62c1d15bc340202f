//! Scopes for the tools of an MCP server: [`Tools`] and [`ToolScopes`].
//!
//! The guide page [`guide::mcp`](crate::guide::mcp) has an introduction.

mod headers;
mod message;
mod origins;
mod payload;
mod reply;
mod text;
mod tool_scopes;
mod tools;

#[doc(hidden)]
pub use self::tool_scopes::ToolScopesService;
pub use self::{tool_scopes::ToolScopes, tools::Tools};

use crate::protect_api::ProtectApi;

#[cfg(test)]
mod tests;

impl ProtectApi {
    /// Requires, in addition to the requirements of this mount, the scopes of the tool that a request of the Model Context
    /// Protocol calls (streamable HTTP transport). Wrap the result around the endpoint of the MCP server only, because
    /// it reads the bodies of all requests as JSON-RPC messages.
    ///
    /// ```
    /// use actix_protect_api::{ProtectApi, mcp::Tools};
    /// use actix_web::{App, web};
    ///
    /// # fn main() -> Result<(), actix_protect_api::ConfigError> {
    /// let protect = ProtectApi::builder("https://issuer.example", "https://api.example/mcp").build()?;
    /// let tools = Tools::new().tool("write_document", ["files:write"]).other_tools(["files:read"]);
    /// let app = App::new().service(web::scope("/mcp").wrap(protect.scopes(["mcp"]).per_tool(tools)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What is checked
    /// - The `Origin` header, before the token (MCP 2026-07-28, Streamable HTTP, section "Security & Endpoint"). A
    ///   request with an `Origin` that is not one of [`origins`](ToolScopes::origins) is rejected with 403.
    /// - The body of every request except `GET`, `HEAD`, `DELETE` and `OPTIONS`, after the token was accepted. It is
    ///   read once, up to [`max_body`](ToolScopes::max_body), and passed on unchanged.
    /// - If the protocol version is 2026-07-28 or later: that `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` match the
    ///   body. Otherwise the request is rejected with 400 and the JSON-RPC error -32020. For older versions these
    ///   headers are ignored. They never decide which scopes are required.
    ///
    /// The rejection of a missing scope is the same 403 as that of [`scopes`](Self::scopes). Its challenge contains the
    /// scopes of this mount and of the tool. The [metadata document](Self::resource_metadata) and
    /// [`explain`](Self::explain) list all declared scopes.
    ///
    /// # What is not checked
    /// The arguments of a tool, and whether the tool exists.
    pub fn per_tool(&self, tools: Tools) -> ToolScopes {
        // The metadata document lists them too.
        let protect = self.mounted(|mount| mount.inner_scopes.extend(tools.strictest().iter().cloned()));
        ToolScopes::new(protect, tools)
    }
}
