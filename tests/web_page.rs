//! The web page on the real daemon in a real browser.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::wait;

const CONFIG: &str = r#"
[resources.db_connections]
scope = "cluster"
capacity = 10
[queues.maps]
weight = 3
[queues."maps/render"]
[queues."maps/index"]
max = { db_connections = 2 }
[queues.search]
[backend]
resources = { cpus = 8, mem = "4GiB" }
attributes = { rack = "r1" }
limits = "off"
"#;

/// A name that would become a script if it were ever taken for markup.
const EVIL: &str =
    "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>";

struct Scene {
    _folder: tempfile::TempDir,
    daemon: Daemon,
    running: u64,
    queued: u64,
    failed: u64,
}

/// A daemon with tasks of all sorts.
fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let http = &daemon.http;
    let task = |queue: &str, name: &str, demand: Value, line: &str| json!({"queue": queue, "name": name, "demand": demand, "run": {"command": line}});
    let small = json!({"cpus": 0.5, "mem": 64});
    let failed = http.submit(&task(
        "search",
        "a step that fails",
        small.clone(),
        "echo oh no >&2; exit 3",
    ));
    let done = http.submit(&task("search", EVIL, small, "echo '<b>not bold</b>'"));
    http.wait_ended(failed);
    http.wait_ended(done);
    let heavy = json!({"cpus": 2, "mem": 512, "db_connections": 4});
    let line = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done";
    let running = http.submit(&task("maps/render", "tile 7/3", heavy.clone(), line));
    let _ = http.submit(&task(
        "search",
        "lookup",
        json!({"cpus": 1, "mem": 256, "db_connections": 3}),
        "sleep 1000",
    ));
    http.wait_state(running, "running");
    let queued = http.submit(&task("maps/render", "tile 7/4", heavy, "true"));
    let _ = http.submit(&json!({"queue": "maps/index", "name": "sweep", "array": "0-120", "demand": {"cpus": 0.1, "db_connections": 2}, "run": {"command": "sleep 1000"}}));
    Scene {
        _folder: folder,
        daemon,
        running,
        queued,
        failed,
    }
}

fn url(scene: &Scene, view: &str) -> String {
    format!("{}/#/{view}", scene.daemon.url)
}

fn assert_fits_the_window(browser: &Browser, view: &str) {
    let widths = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]");
    assert!(
        widths[0].as_u64() <= widths[1].as_u64(),
        "{view} is wider than the window: {widths}"
    );
}

#[test]
fn everything_is_seen_on_a_desk_on_a_phone_and_in_the_dark() {
    let scene = scene();
    for (kind, width, height, is_dark) in [
        ("desktop", 1280, 900, false),
        ("phone", 390, 800, false),
        ("dark", 1280, 900, true),
    ] {
        let Some(browser) = Browser::start(width, height, is_dark) else {
            return;
        };
        let views = [
            ("queues", "weight 3"),
            ("tasks?order=oldest", "tile 7/3"),
            ("tasks", "sweep"),
            ("agents", "rack=r1"),
            ("resources", "db_connections"),
            (&format!("tasks/{}", scene.queued), "lacks db_connections"),
            (&format!("tasks/{}", scene.running), "line 3"),
            (&format!("tasks/{}", scene.failed), "exited with code 3"),
        ];
        for (view, shows) in views {
            browser.open(&url(&scene, view));
            browser.until_shows(shows);
            assert_fits_the_window(&browser, view);
            browser.screenshot(&format!("{kind}-{}", view.replace(['/', '?', '='], "-")));
        }
        let colour = browser.run("return getComputedStyle(document.body).backgroundColor");
        assert_eq!(colour == "rgb(18, 22, 20)", is_dark, "{colour}");
    }
}

#[test]
fn what_tasks_say_stays_text() {
    let scene = scene();
    let Some(browser) = Browser::start(1280, 900, false) else {
        return;
    };
    browser.open(&url(&scene, "tasks?order=oldest"));
    browser.until_shows(EVIL);
    browser.open(&url(&scene, &format!("tasks/{}", scene.failed + 1)));
    browser.until_shows(EVIL);
    browser.until_shows("<b>not bold</b>");
    assert_eq!(
        browser.run("return document.title"),
        format!("Task {} – Apportion", scene.failed + 1)
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('main script, main img, main b').length"),
        0
    );
    // Even where a mistake let markup through, the content policy would stop it.
    let stopped = browser.run(
        "const seen = []; document.addEventListener('securitypolicyviolation', (event) => seen.push(event.violatedDirective)); \
         const script = document.createElement('script'); \
         try { script.textContent = 'document.title = \"broken in\"'; document.body.append(script); } catch { seen.push('types'); } \
         try { document.body.insertAdjacentHTML('beforeend', '<i>x</i>'); } catch { seen.push('markup'); } \
         return [document.title, seen.length > 0]",
    );
    assert_ne!(stopped[0], "broken in");
    assert_eq!(stopped[1], true);
}

#[test]
fn it_is_live_and_cancels_and_retries_after_a_question() {
    let scene = scene();
    let Some(browser) = Browser::start(1280, 900, false) else {
        return;
    };
    let http = &scene.daemon.http;
    browser.open(&url(&scene, "tasks?queue=search"));
    browser.until_shows("lookup");
    let _ = http
        .submit(&json!({"queue": "search", "name": "just submitted", "run": {"command": "true"}}));
    browser.until_shows("just submitted");
    browser.until("it has ended", |text| {
        text.lines()
            .filter(|line| line.contains("succeeded"))
            .count()
            >= 2
    });

    browser.open(&url(&scene, &format!("tasks/{}", scene.running)));
    browser.until_shows("line 1");
    browser.click("#do-cancel");
    browser.until_shows(&format!("Cancel task {}?", scene.running));
    browser.screenshot("question");
    // The safe answer has the focus.
    browser.press("\u{e007}");
    browser.click("#do-cancel");
    assert_eq!(http.task(scene.running)["state"], "running");
    browser.run("document.querySelector('#question-reason input').value = 'wrong tiles'");
    browser.click("#question-yes");
    let ended = http.wait_ended(scene.running);
    assert_eq!(
        ended["outcome"]["cause"]["message"],
        "cancelled: wrong tiles"
    );
    browser.until_shows("cancelled: wrong tiles");
    browser.click("#do-retry");
    browser.until_shows(&format!("Run task {} again?", scene.running));
    browser.click("#question-yes");
    wait::for_true("the task to be tried again", || {
        http.task(scene.running)["n_attempts"] == 2 || http.task(scene.running)["state"] == "queued"
    });
}

#[test]
fn tasks_are_found_by_search_filter_page_and_key() {
    let scene = scene();
    let Some(browser) = Browser::start(1280, 900, false) else {
        return;
    };
    browser.open(&url(&scene, "tasks?state=queued"));
    browser.until_shows("More →");
    assert!(!browser.text().contains("a step that fails"));
    browser.click(".pager a:last-child");
    browser.until_shows("← Back");
    browser.open(&url(&scene, "queues"));
    browser.until_shows("weight 3");
    // By keyboard alone: to the tasks, to the search, a word, to the row, and in.
    browser.press("2");
    browser.until_shows("sweep");
    browser.press("/");
    browser.press("TILE 7/4");
    browser.until("only what was searched for", |text| {
        text.contains("tile 7/4") && !text.contains("sweep")
    });
    assert_eq!(
        browser.run("return document.activeElement.id"),
        "field-search"
    );
    browser.press("\u{e004}");
    browser.run("document.activeElement.blur()");
    browser.press("j");
    browser.press("\u{e007}");
    browser.until_shows(&format!("Task {}", scene.queued));
    browser.until_shows("Why it waits");
}

#[test]
fn it_asks_for_a_token_once_and_keeps_it_in_its_tab() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let Some(browser) = Browser::start(1280, 900, false) else {
        return;
    };
    let data = folder.path().join("data").display().to_string();
    let new = ["token", "new", "--data-dir", &data, "--name", "page"];
    let rights = ["--queues", "maps/*", "--rights", "read,submit"];
    let token = daemon.cli(&[&new[..], &rights].concat(), 0);
    let go_on = |text: &str| {
        browser.run(&format!(
            "document.getElementById('door-token').value = '{text}'"
        ));
        browser.click("#door-yes");
    };
    browser.open(&format!("{}/#/queues", daemon.url));
    browser.until_shows("A token, please");
    go_on("apportion_1_wrong");
    browser.until_shows("this is no token of this daemon");
    browser.run("location.reload()");
    browser.until_shows("this is no token of this daemon");
    go_on(token.trim());
    browser.until_shows("maps/render");
    let rows = browser
        .run("return [...document.querySelectorAll('[data-row]')].map((row) => row.textContent)");
    assert_eq!(rows, json!(["maps/render", "maps/index"]));
    // Events need it as well as calls do.
    browser.until_shows("live");
    browser.run("location.reload()");
    browser.until_shows("maps/render");
    assert_eq!(
        browser.run("return document.getElementById('door').open"),
        false
    );
    let kept =
        browser.run("return [Object.values(sessionStorage), localStorage.length, document.cookie]");
    assert_eq!(kept, json!([[token.trim()], 0, ""]));
}
