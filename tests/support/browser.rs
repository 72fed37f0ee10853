//! A real browser, Debian's Chromium, driven through WebDriver.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{programs, wait};

/// How long the page may take to show something, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A browser with one window. Ended on drop.
pub(crate) struct Browser {
    runtime: tokio::runtime::Runtime,
    client: Client,
    driver: Child,
    _folder: TempDir,
}

impl Browser {
    /// Starts a browser with a window of this size, or says loudly that there is none.
    #[track_caller]
    pub(crate) fn start(width: u32, height: u32, is_dark: bool) -> Option<Self> {
        let chromium = programs::find("chromium", "chromium")?;
        let driver = programs::find("chromedriver", "chromium-driver")?;
        let folder = tempfile::tempdir().unwrap();
        let log_file = folder.path().join("driver.log");
        let driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(File::create(&log_file).unwrap())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let port = wait::until("chromedriver to listen", DEADLINE, || {
            let said = fs::read_to_string(&log_file).unwrap_or_default();
            let (_, rest) = said.split_once("started successfully on port ")?;
            Some(rest.split_once('.')?.0.to_owned())
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let capabilities = capabilities(&chromium, folder.path(), width, height, is_dark);
        let client = runtime
            .block_on(
                ClientBuilder::new(HttpConnector::new())
                    .capabilities(capabilities)
                    .connect(&format!("http://127.0.0.1:{port}")),
            )
            .unwrap();
        Some(Self {
            runtime,
            client,
            driver,
            _folder: folder,
        })
    }

    /// Opens an address.
    pub(crate) fn open(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).unwrap();
    }

    /// Runs a piece of JavaScript and gives what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        let running = self.client.execute(script, Vec::new());
        self.runtime.block_on(running).unwrap()
    }

    /// All text that the page shows.
    pub(crate) fn text(&self) -> String {
        let text = self.run("return document.body.innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows this.
    #[track_caller]
    pub(crate) fn until_shows(&self, wanted: &str) {
        self.until(wanted, |text| text.contains(wanted));
    }

    /// Waits until what the page shows is as wanted.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_wanted: impl Fn(&str) -> bool) {
        let shown = std::cell::RefCell::new(String::new());
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait::until(what, DEADLINE, || {
                *shown.borrow_mut() = self.text();
                is_wanted(&shown.borrow()).then_some(())
            });
        }));
        assert!(
            seen.is_ok(),
            "the page does not show {what}:\n{}",
            shown.borrow()
        );
    }

    /// Clicks on the first element of a CSS selector, once it is there.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        self.until(&format!("something to click on at {selector}"), |_| {
            self.runtime.block_on(async {
                // The page is drawn anew now and then: what was found may be gone before the click.
                let Ok(element) = self.client.find(Locator::Css(selector)).await else {
                    return false;
                };
                element.click().await.is_ok()
            })
        });
    }

    /// Presses keys where the focus is.
    pub(crate) fn press(&self, keys: &str) {
        let pressed = self
            .runtime
            .block_on(async { self.client.active_element().await?.send_keys(keys).await });
        pressed.unwrap();
    }

    /// A picture of the window, as PNG, into `APPORTION_SCREENSHOTS` where that names a folder.
    pub(crate) fn screenshot(&self, name: &str) {
        let Some(folder) = std::env::var_os("APPORTION_SCREENSHOTS") else {
            return;
        };
        let png = self.runtime.block_on(self.client.screenshot()).unwrap();
        fs::write(Path::new(&folder).join(name).with_extension("png"), png).unwrap();
    }
}

fn capabilities(
    chromium: &Path,
    folder: &Path,
    width: u32,
    height: u32,
    is_dark: bool,
) -> fantoccini::wd::Capabilities {
    let mut arguments: Vec<String> = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!(
        "--user-data-dir={}",
        folder.join("profile").display()
    ));
    arguments.push(format!("--window-size={width},{height}"));
    if is_dark {
        arguments.push("--force-dark-mode".to_owned());
    }
    let mut options = json!({"binary": chromium, "args": arguments});
    if width < 500 {
        let metrics = json!({"width": width, "height": height, "pixelRatio": 2.0, "mobile": true, "touch": true});
        options["mobileEmulation"] = json!({"deviceMetrics": metrics});
    }
    let mut capabilities = serde_json::Map::new();
    capabilities.insert("goog:chromeOptions".to_owned(), options);
    capabilities
}

impl Drop for Browser {
    fn drop(&mut self) {
        let closing = self.client.clone().close();
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(10), closing).await });
        let _ = killpg(
            Pid::from_raw(i32::try_from(self.driver.id()).unwrap()),
            Signal::SIGKILL,
        );
        let _ = self.driver.wait();
    }
}
