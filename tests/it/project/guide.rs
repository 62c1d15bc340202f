//! The guide: every page is included and listed, its code is compiled, and its language and layout follow CONTRIBUTING.

use std::{collections::BTreeSet, env, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The pages in `docs`, by their names.
pub(super) fn pages() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "md"));
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The files that are rendered as pages, by their paths.
fn texts() -> Vec<String> {
    let docs = pages().into_iter().map(|page| format!("docs/{page}.md"));
    docs.chain(["README.md", "SECURITY.md", "DESIGN.md", "CHANGELOG.md"].map(str::to_owned)).collect()
}

/// The lines of a file, each with its place and whether it is in a block of code.
fn lines(file: &str) -> Vec<(String, String, bool)> {
    let (mut is_code, mut lines) = (false, Vec::new());
    for (number, line) in read(file).lines().enumerate() {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        lines.push((format!("{file}:{}: {line}", number + 1), line.to_owned(), is_code && !is_fence));
    }
    lines
}

#[test]
fn every_page_is_included_under_its_name_and_listed() {
    let guide = read("src/guide.rs").replace("#[doc = wide_tables!()]\n", "");
    for page in pages() {
        let module = format!("#[doc = include_str!(\"../docs/{page}.md\")]\npub mod {page} {{}}");
        assert!(guide.contains(&module), "{page} is not included");
        assert!(guide.contains(&format!("| [`{page}`] |")), "{page} is not listed");
    }
    for page in [
        "getting_started",
        "jwt_or_introspection",
        "caching",
        "scopes_and_groups",
        "servers",
        "errors",
        "observability",
        "mtls",
        "testing",
        "proxies",
        "tuning",
        "troubleshooting",
        "configuration",
        "limits",
    ] {
        assert!(pages().contains(page), "{page} is missing");
    }
}

#[test]
fn every_block_of_rust_is_compiled() {
    const COMPILED: [&str; 3] = ["", "no_run", "rust,no_run"];
    const NO_RUST: [&str; 3] = ["sh", "toml", "text"];
    // A block that needs a crate which is no dependency of this one: its lines are those of an example or of the template, which
    // are compiled.
    const FROM_EXAMPLE: &str = "ignore";
    let examples =
        ["fleet", "observability"].map(|name| read(&format!("examples/integrations/{name}.rs"))).concat()
            + &read("template/src/lib.rs");
    let examples: BTreeSet<_> = examples.lines().map(str::trim).collect();
    let (mut compiled, mut is_from_example) = (0, false);
    for file in texts() {
        let mut block = None;
        for (number, line) in read(&file).lines().enumerate() {
            let at = format!("{file}:{}: {line}", number + 1);
            match (line.strip_prefix("```"), block) {
                (Some(kind), None) => {
                    is_from_example = kind == FROM_EXAMPLE;
                    let is_compiled = COMPILED.contains(&kind) || is_from_example;
                    assert!(is_compiled || NO_RUST.contains(&kind), "{at}");
                    compiled += usize::from(is_compiled);
                    block = Some(is_compiled);
                }
                (Some(kind), Some(_)) => {
                    assert_eq!(kind, "", "{at}");
                    block = None;
                }
                // A block that is not compiled must not be Rust.
                (None, Some(true)) if is_from_example => {
                    assert!(examples.contains(line.trim()), "{at} is in no example");
                }
                (None, Some(false)) => assert!(!line.starts_with("use ") && !line.contains("fn "), "{at}"),
                (None, _) => {}
            }
        }
        assert_eq!(block, None, "{file} ends in a block");
    }
    assert!(compiled > 20, "{compiled} blocks were found");
}

/// The two patterns that made sentences hard to read: a clause as the subject, and "of its own".
fn is_hard_to_read(line: &str) -> bool {
    const SUBJECTS: [&str; 3] = ["What", "Who", "Whoever"];
    const OWNERS: [&str; 8] = [
        "of its own",
        "of their own",
        "of your own",
        "of our own",
        "of yours",
        "of ours",
        "of hers",
        "of theirs",
    ];
    let cells = line.split(['.', ':', ';', '|']).map(|part| part.trim_start_matches([' ', '*', '-', '"']));
    let mut starts = cells.map(|part| part.split(' ').next().unwrap_or_default());
    starts.any(|word| SUBJECTS.contains(&word)) || OWNERS.iter().any(|owner| line.contains(owner))
}

#[test]
fn no_sentence_has_a_clause_as_its_subject() {
    for hard in
        ["What nobody knows yet.", "- Who asks", "Yes. What else", "| Whoever |", "a store of your own"]
    {
        assert!(is_hard_to_read(hard), "{hard}");
    }
    for plain in ["### Why is it so?", "Whose token", "on the user's own page", "It says what to do."] {
        assert!(!is_hard_to_read(plain), "{plain}");
    }
    let lines = texts().into_iter().flat_map(|file| lines(&file));
    let hard: Vec<_> = lines.filter(|(_, line, _)| is_hard_to_read(line)).map(|(at, ..)| at).collect();
    assert!(hard.is_empty(), "{hard:#?}");
}

#[test]
fn tables_and_code_fit_into_the_rendered_page() {
    let mut wide = Vec::new();
    for (at, line, is_code) in texts().into_iter().flat_map(|file| lines(&file)) {
        let columns = line.replace("\\|", "").matches('|').count();
        let is_hidden = line == "#" || line.starts_with("# ");
        if is_code && !is_hidden && line.chars().count() > 88
            || !is_code && line.starts_with('|') && columns > 5
        {
            wide.push(at);
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

/// The blocks of code of a text, without the marks of a comment in front of its lines.
fn blocks(text: &str) -> Vec<String> {
    let plain = |line: &str| line.strip_prefix("//!").map_or(line, str::trim_start).to_owned();
    let text: Vec<_> = text.lines().map(plain).collect();
    text.join("\n").split("\n```").skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_complete_program_installs_a_logger() {
    let mut programs = 0;
    for file in texts().into_iter().chain(["src/lib.rs".to_owned()]) {
        for block in blocks(&read(&file)).iter().filter(|block| block.contains("\nasync fn main()")) {
            // The default level of `env_logger` is `error`: warnings and the configuration would not be shown.
            let start = "env_logger::init_from_env(env_logger::Env::default().default_filter_or(\"info\"));";
            assert!(block.contains(start), "{file}: {block}");
            programs += 1;
        }
    }
    assert!(programs >= 3, "{programs} programs were found");
}

#[test]
fn every_example_installs_a_logger() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut programs) = (vec![root.join("examples")], 0);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = if path.extension().is_some_and(|end| end == "rs") {
                fs::read_to_string(&path).unwrap()
            } else {
                String::new()
            };
            if text.contains("\nasync fn main()") {
                let starts =
                    ["support::init_logger();", "env_logger::init_from_env(", "init_tracing(output.clone())"];
                assert!(starts.iter().any(|start| text.contains(start)), "{}", path.display());
                programs += 1;
            }
        }
    }
    assert!(programs >= 15, "{programs} programs were found");
}

/// The last paragraph of a page.
fn last_paragraph(page: &str) -> String {
    read(&format!("docs/{page}.md")).trim_end().rsplit("\n\n").next().unwrap().to_owned()
}

#[test]
fn every_page_ends_with_the_next_pages() {
    let mut complaints = Vec::new();
    for page in pages() {
        let last = last_paragraph(&page);
        let Some(next) = last.strip_prefix("Next: ") else {
            complaints.push(format!("docs/{page}.md does not end with \"Next: …\""));
            continue;
        };
        let links: Vec<_> = next.split("(crate::guide::").skip(1).collect();
        let names: Vec<_> = links.iter().map(|link| link.split([')', '#']).next().unwrap()).collect();
        let guide = read("src/guide.rs");
        let is_known = |name: &&str| guide.contains(&format!("pub mod {name} {{}}")) && *name != page;
        if names.is_empty() || names.len() > 3 || !names.iter().all(is_known) {
            complaints.push(format!("docs/{page}.md: expected one to three other pages, got {last:?}"));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn llms_txt_lists_every_page_with_its_title() {
    let text = read("llms.txt");
    let listed: BTreeSet<_> = text.lines().filter(|line| line.starts_with("- [")).collect();
    let mut expected = BTreeSet::new();
    for file in texts().into_iter().chain(["CONTRIBUTING.md", "examples/README.md"].map(str::to_owned)) {
        let title = read(&file).lines().next().unwrap().trim_start_matches("# ").to_owned();
        let line = format!("- [{title}]({file}): ");
        let found: Vec<_> = listed.iter().filter(|listed| listed.starts_with(&line)).copied().collect();
        assert_eq!(found.len(), 1, "llms.txt needs one line that starts with {line:?}");
        assert!(found[0].len() > line.len() + 10, "a line needs a description: {line}");
        expected.insert(found[0]);
    }
    assert_eq!(listed, expected, "llms.txt lists a file that is no page");
    assert!(text.starts_with("# actix-protect-api\n\n> "), "llms.txt starts with the title and a summary");
}

/// The variables of the configuration page, without the prefix.
fn variables() -> BTreeSet<String> {
    let page = read("docs/configuration.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`'));
    let is_name = |text: &&str| text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    cells.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn every_variable_in_a_text_exists() {
    const PREFIX: &str = "MONOCLOUD_BACKEND_";
    let (variables, mut mentions) = (variables(), 0);
    let template = ["template/.env.example", "template/kubernetes.yaml"].map(str::to_owned);
    for file in texts().into_iter().chain(template).filter(|file| file != "CHANGELOG.md") {
        for (at, line, _) in lines(&file) {
            for rest in line.split(PREFIX).skip(1) {
                let is_name = |c: &char| c.is_ascii_uppercase() || *c == '_';
                let name: String = rest.chars().take_while(is_name).collect();
                assert!(name.is_empty() || variables.contains(&name), "{name} is not a variable: {at}");
                mentions += usize::from(!name.is_empty());
            }
        }
    }
    assert!(mentions > 50, "{mentions} variables were found");
}

/// A file `diagrams/<name>.md` defines the reference `<name>.svg` as a data URI. It precedes the definition at the end of the page,
/// which is a path and works outside of rustdoc.
#[test]
fn each_diagram_is_on_a_page_and_embedded_in_its_current_form() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("diagrams");
    let (guide, mut diagrams) = (read("src/guide.rs"), 0);
    for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "svg") {
            continue;
        }
        let (name, svg) = (path.file_stem().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap());
        let embedded = format!("[{name}.svg]: data:image/svg+xml;base64,{}\n", STANDARD.encode(&svg));
        if env::var_os("UPDATE_DIAGRAMS").is_some() {
            fs::write(path.with_extension("md"), &embedded).unwrap();
        }
        assert_eq!(read(&format!("diagrams/{name}.md")), embedded, "run this test with UPDATE_DIAGRAMS=1");
        assert!(svg.contains("<title ") && svg.contains("<desc "), "{name} needs a title and a description");
        let include =
            format!("#[doc = include_str!(\"../diagrams/{name}.md\")]\n#[doc = include_str!(\"../docs/");
        let page = guide.split(&include).nth(1).and_then(|rest| rest.split('.').next());
        let page = read(&format!("docs/{}.md", page.unwrap_or_else(|| panic!("{name} is not in the guide"))));
        assert!(page.contains(&format!("][{name}.svg]")), "{name} is not on its page");
        assert!(page.contains(&format!("\n[{name}.svg]: ../diagrams/{name}.svg\n")), "{name} has no path");
        diagrams += 1;
    }
    assert_eq!(diagrams, 3);
}

/// The first block of the page of deployment, and the one of Kubernetes, are files of the template.
#[test]
fn the_files_of_the_template_are_those_of_the_deployment_page() {
    let page = read("docs/deployment.md").replace("my-api", "{{project-name}}");
    let blocks: Vec<_> =
        page.split("\n```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    for (file, start) in [("Dockerfile", "FROM rust:1-bookworm"), ("kubernetes.yaml", "apiVersion: apps/v1")]
    {
        let block = blocks.iter().find(|block| block.starts_with(start)).unwrap();
        assert_eq!(
            read(&format!("template/{file}")),
            **block,
            "template/{file} differs from docs/deployment.md"
        );
    }
    let (template, page) = (read("template/src/lib.rs"), read("docs/observability.md"));
    let start = "/// Installs the exporter";
    let after = template.split(start).nth(1).unwrap();
    let exporter = format!("{start}{}", after.split_inclusive("\n}\n").next().unwrap());
    assert!(page.contains(&exporter), "docs/observability.md has another function `prometheus`");
    for file in ["alerts.yml", "dashboard.json"] {
        let (ours, of_template) = (format!("docs/monitoring/{file}"), format!("template/monitoring/{file}"));
        assert_eq!(read(&ours), read(&of_template), "copy {ours} to {of_template}");
    }
    let manifest = read("template/Cargo.toml");
    let rust =
        read("Cargo.toml").lines().find(|line| line.starts_with("rust-version = \"")).unwrap().to_owned();
    assert!(manifest.contains(&rust), "the template needs {rust}");
}
