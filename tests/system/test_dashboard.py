"""The dashboard in a browser, over real daemons and a real session.

Pictures of every page go to the folder `dashboard` of the build."""

import itertools
import json
import threading
import unittest

import browser
import data
import federation
import rawclient
from browser import Browser
from federation import Federation

PICTURES = federation.BIN.parent / "dashboard"
HOSTILE = "<img src=x onerror=window.hacked=1>"
PAGES = {
    "overview": "/dashboard/", "network": "/dashboard/network", "models": "/dashboard/models",
    "rounds": "/dashboard/rounds", "events": "/dashboard/events", "control": "/dashboard/control",
    "client": "/dashboard/clients/clinic-0", "round": "/dashboard/rounds/1",
}
TITLES = {
    "overview": "Overview", "network": "Network", "models": "Models", "rounds": "Rounds",
    "events": "Events", "control": "Control", "client": "clinic-0", "round": "Round 1",
}
TABLES = {
    "network": {
        "Combiners": ["Name", "Active trainers", "Active validators", "Address", "Load", "Version",
                      "Status"],
        "Clients": ["Name", "Combiner", "IP", "Updated At", "Role", "Status"]},
    "models": {"Models": ["Model ID", "Name", "Round", "Parent", "Metric (mean)", "Size",
                          "Committed at", "Actions"]},
    "rounds": {"Rounds": ["Round", "Status", "Asked", "Counted", "Refused", "Took", "Began",
                          "Model", "Failure"]},
    "events": {"Events": ["Timestamp", "Sender", "Role", "Status"]},
    "control": {"Sessions": ["Session", "Status", "Rounds", "Failed", "Created"]},
    "client": {"Rounds of this client": ["Round", "Asked at", "Outcome", "Examples", "Download",
                                         "Training", "Upload"],
               "Refused updates": ["Round", "Reason", "Detail", "Update"]},
    "round": {"Clients of this round": ["Client", "Outcome", "Answered after", "Reason", "Detail"]},
}
CARDS = {
    "overview": ["Now", "What is wrong", "Accuracy by round", "Loss by round"],
    "network": ["Network composition", "Combiners", "Clients"],
    "models": ["Model validations", "Models"],
    "rounds": ["Breakdown of the client processing time during rounds (in seconds)",
               "Client training time distribution (histogram density)",
               "Breakdown of the combiner processing time during rounds (in seconds)", "Rounds"],
    "events": ["Events"], "control": ["Start a session", "Sessions"],
    "client": ["This client", "History", "Timings", "Refused updates"],
    "round": ["This round", "Timeline", "Clients"],
    "model": ["This model", "Trail", "Validations", "Confusion matrix"],
}
ROUNDS = 3
N_NATIVE = 4
HEADINGS = """
return Object.fromEntries([...document.querySelectorAll('table')].map((table) =>
    [table.caption.innerText, [...table.querySelectorAll('th button')].map((b) => b.innerText)]))"""
# Relative luminance by WCAG 2, of every visible text against the first opaque ground below it.
CONTRAST = """
const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const lum = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (n) => { for (; n; n = n.parentElement) {
    const c = parse(getComputedStyle(n).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
const bad = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const n = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || n.closest('svg, .hidden, noscript, .skip, :disabled')) continue;
    if (!n.checkVisibility()) continue;
    const [a, b] = [lum(parse(getComputedStyle(n).color)), lum(ground(n))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${n.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return [...new Set(bad)];"""


class LabClient:
    """Refused in every other round; validates with a confusion matrix."""

    def __init__(self, address):
        self.client = rawclient.RawClient(address, "lab").attach()
        threading.Thread(target=self.train, daemon=True).start()
        threading.Thread(target=self.validate, daemon=True).start()

    def train(self):
        raw = self.client
        for n in itertools.count(1):
            try:
                task = raw.wait_task(n=n, seconds=300)
                if n % 2:
                    arrays = rawclient.load(raw.download(task.model_id))
                    raw.announce(task, raw.upload(rawclient.save([a * float("nan") for a in arrays])))
                else:
                    raw.answer(task)
            except (federation.Failed, rawclient.grpc.RpcError, ValueError):
                return

    def validate(self):
        raw = self.client
        for n in itertools.count(1):
            try:
                task = raw.wait_task("MODEL_VALIDATION", n, 300)
                raw.combiner.SendModelValidation(raw.pb.ModelValidation(
                    sender=raw.sender, receiver=raw.pb.Client(role=raw.pb.COMBINER),
                    model_id=task.model_id, session_id=task.session_id,
                    correlation_id=task.correlation_id,
                    data=json.dumps({"test_accuracy": 0.5, "test_loss": 1.5,
                                     "confusion_matrix": [[8, 2], [1, 9]]})), metadata=raw.metadata)
            except (federation.Failed, rawclient.grpc.RpcError, ValueError):
                return


@unittest.skipIf(browser.MISSING, browser.MISSING)
class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fed = cls.enterClassContext(Federation())
        cls.fed.start_reducer()
        address = cls.fed.start_combiner("west").address
        cls.fed.start_combiner("east")
        images = data.small_mnist(cls.fed.folder / "data", n_train=240, n_test=64)
        for i in range(N_NATIVE):
            cls.fed.start_client(f"clinic-{i}", trainer="cnn", wait=False, options=[
                "--data", images, "--shard", f"{i}/{N_NATIVE}", "--epochs", "1", "--batch", "16"])
        cls.fed.rest("POST", "/api/v1/clients/add",
                     {"client_id": "hostile", "name": HOSTILE, "package": "local"})
        cls.fed.wait_clients(N_NATIVE)
        cls.lab = LabClient(address)
        cls.addClassCleanup(cls.lab.client.close)
        cls.fed.wait_clients(N_NATIVE + 1)
        seed = cls.fed.folder / "seed.npz"
        cls.fed.cli("model", "new", "cnn", "--seed", "1", "--output", seed)
        cls.model = cls.fed.upload_model(seed, "the-seed")
        cls.session = cls.fed.start_session(cls.model, rounds=ROUNDS, clients_required=2)
        cls.fed.wait_session(cls.session)
        cls.fed.wait_live(lambda live: live["validation"]["received"] == N_NATIVE + 1, 60,
                          "all validations")
        cls.made = cls.fed.rounds(cls.session)[-1]["model_id"]
        cls.browser = cls.enterClassContext(Browser(f"http://{cls.fed.http}"))

    def setUp(self):
        self.browser.device(1400, 900)
        self.browser.scheme("light")

    def tearDown(self):
        self.browser.collect()
        said, self.browser.console = self.browser.console, []
        self.assertEqual(said, [], "the console is silent")
        self.assertEqual(self.browser.strangers(), [])
        self.assertIsNone(self.browser.run("return window.hacked ?? null"))

    def open(self, name, path=None):
        """Open a page by its address and wait until its cards, tables and plots are there."""
        page = self.browser
        page.go(path or PAGES[name])
        page.wait(lambda: set(CARDS.get(name, [])) <= set(
            page.run("return [...document.querySelectorAll('h2')].map((n) => n.textContent)")),
            what=f"the cards of {name}")
        page.wait(lambda: page.run(
            "return [...document.querySelectorAll('.plot')]"
            ".every((n) => n.dataset.drawn || n.querySelector('.empty'))"), what="the plots")
        page.wait(lambda: page.text("#state-text") not in ("Connecting", ""), what="the state")
        return page

    def marks(self, plot, kind):
        """How many marks of a kind a plot has drawn."""
        return self.browser.run(
            "return document.querySelectorAll(arguments[0]).length",
            f"[data-plot={plot}] svg g.{kind}.role-mark > *")

    # -- what is on each page -------------------------------------------------------------------

    def test_every_page(self):
        """By its address, in the order of the navigation, light and dark, wide and on a phone."""
        pages = {**PAGES, "model": f"/dashboard/models/{self.made}"}
        for name, path in pages.items():
            with self.subTest(page=name):
                page = self.open(name, path)
                heading = page.text("h1")
                self.assertEqual(heading, TITLES.get(name, heading))
                self.assertEqual(len(page.find("[aria-current]")), 1)
                for table, columns in TABLES.get(name, {}).items():
                    self.assertEqual(page.run(HEADINGS)[table], columns)
                self.check_links(page)
                self.assertEqual(page.run(CONTRAST), [])
                page.shoot(PICTURES / f"{name}.png")
                page.scheme("dark")
                page.wait(lambda: page.run("return document.documentElement.dataset.theme") == "dark",
                          what="the system's dark")
                self.assertEqual(page.run(CONTRAST), [])
                page.shoot(PICTURES / f"{name}-dark.png")
                page.scheme("light")
                page.device(360, 740, mobile=True)
                page.wait(lambda: page.run(
                    "return document.documentElement.scrollWidth <= innerWidth"), 5,
                    f"{name} within 360 pixels")
                page.shoot(PICTURES / f"{name}-phone.png")
                page.device(2560, 1300)
                self.assertTrue(page.run("return document.documentElement.scrollWidth <= innerWidth"))
                page.device(1400, 900)

    def check_links(self, page):
        """Every card with a table or a plot has its CSV and its JSON, and they are what they say."""
        bare = page.run("return [...document.querySelectorAll('.card')].filter((c) =>"
                        " c.querySelector('table, .plot') && c.querySelectorAll('.data a').length !== 2)"
                        ".map((c) => c.innerText)")
        self.assertEqual(bare, [])
        links = page.run("return [...document.querySelectorAll('.data a')].map((a) => [a.innerText, a.href])")
        self.assertTrue(links)
        for text, address in dict.fromkeys(map(tuple, links)):
            kind = page.driver.execute_async_script(
                "fetch(arguments[0]).then((r) => arguments[1](`${r.status} ${r.headers.get('Content-Type')}`))",
                address)
            self.assertTrue(kind.startswith(f"200 {'text/csv' if text == 'CSV' else 'application/json'}"),
                            f"{address}: {kind}")

    def test_plots_show_the_session(self):
        page = self.open("overview")
        self.assertEqual(self.marks("accuracy", "mark-symbol"), ROUNDS)
        self.assertEqual(self.marks("loss", "mark-symbol"), ROUNDS)
        page = self.open("models")
        self.assertEqual(self.marks("validations", "mark-rect.box"), ROUNDS)
        metrics = page.run("return [...document.querySelectorAll('select')].at(-1).innerText")
        self.assertEqual(set(metrics.split()), {"test_loss", "test_accuracy"})
        self.open("rounds")
        times = self.fed.rest("GET", f"/api/v1/views/client-times?session_id={self.session}")[1]
        self.assertEqual(times["count"], ROUNDS * N_NATIVE)
        for row in times["result"]:
            self.assertGreater(row["training_s"], 0, row)
        self.assertEqual(self.marks("client-times", "mark-rect"), 3 * ROUNDS)
        self.assertGreaterEqual(self.marks("training-histogram", "mark-rect"), 2)
        self.assertEqual(self.marks("combiner-times", "mark-rect"), 3 * ROUNDS)
        for row in self.fed.rest("GET", "/api/v1/views/combiner-times")[1]["result"]:
            for part in ("waiting_s", "aggregation_s", "loading_s"):
                self.assertGreater(row[part], 0, row)
        self.open("network")  # a reducer, two combiners, the attached clients
        self.assertEqual(self.marks("network", "mark-symbol.node"), 3 + N_NATIVE + 1)
        self.open("client")
        self.assertEqual(self.marks("client-times", "mark-rect"), 3 * ROUNDS)

    def test_timeline_names_who_was_refused(self):
        page = self.open("round")
        self.assertEqual(self.marks("timeline", "mark-rect.phase"), 3 * N_NATIVE + 1)
        self.assertIn("refused: not_finite", page.run(
            "return document.querySelector('[data-plot=timeline] svg').textContent"))
        self.assertIn("not_finite", page.text("table"))
        page = self.open("client", f"/dashboard/clients/lab?session_id={self.session}")
        page.wait_text("element 0 is NaN")

    def test_confusion_matrix(self):
        page = self.open("model", f"/dashboard/models/{self.made}")
        self.assertEqual(self.marks("confusion", "mark-rect.cell"), 4)
        self.assertEqual(page.run(
            "return [...document.querySelectorAll('[data-plot=confusion] g.mark-text.role-mark text')]"
            ".map((n) => n.textContent)"),
                         ["8", "2", "1", "9"])
        page.wait_text("the-seed", ".trail")

    def test_names_are_text(self):
        page = self.open("network")
        page.wait_text(HOSTILE, "table")
        self.assertEqual(page.find("main img"), [])
        self.open("client", "/dashboard/clients/hostile")
        self.assertEqual(page.text("h1"), HOSTILE)

    # -- what can be done -----------------------------------------------------------------------

    def test_start_and_follow_a_session(self):
        """From the page alone: promote a model to seed, start, watch it, stop it."""
        page = self.open("models")
        page.wait(lambda: page.find("a[aria-label^=Promote]"))[0].click()
        page.wait_text("Start a session")
        chosen = page.run("return document.querySelector('form select').value")
        self.assertIn(f"seed={chosen}", page.driver.current_url)
        name = page.find("form input[type=text]")[0]
        name.send_keys("from the page")
        rounds = page.find("form input[type=number]")[0]
        rounds.clear()
        rounds.send_keys("40")
        page.find("form button[type=submit]")[0].click()
        page.wait_text("from the page", ".lead")
        page.shoot(PICTURES / "control-running.png")
        self.assertFalse(page.find("form button[type=submit]")[0].is_enabled())
        page.find("nav a[href='/dashboard/']")[0].click()
        page.wait(lambda: "from the page" in page.text() and len(page.find(".cells li")) > 0)
        page.wait_text("Running", "#state-text")
        seen = set()
        page.wait(lambda: seen.add(page.text(".session .lead").split(",")[0]) or len(seen) >= 2,
                  60, "the next round on the page")
        page.shoot(PICTURES / "overview-running.png")
        page.find("nav a[href='/dashboard/control']")[0].click()
        page.wait(lambda: page.find(".danger"))[0].click()
        page.wait_text("Idle", "#state-text", 60)
        page.wait_text("Terminated", "table")
        live = self.fed.live()
        self.assertEqual(live["session"]["status"], "Terminated")
        self.check_round_of_model(self.fed.rounds(live["session"]["session_id"])[0])

    def check_round_of_model(self, round_):
        """It is called by its number, which is not its id in a second session, and leads to it."""
        self.assertEqual(round_["round_number"], 1)
        self.assertNotEqual(round_["round_id"], "1")
        links = [["1", f"/dashboard/rounds/{round_['round_id']}"]]
        found = ("return [...document.querySelectorAll(arguments[0])].filter((a) => a.pathname.endsWith(arguments[1]))"
                 ".map((a) => [a.innerText, a.pathname])")
        page = self.browser
        page.go(f"/dashboard/models/{round_['model_id']}")
        for place in (".facts a", ".trail a"):
            page.wait(lambda: page.run(found, place, links[0][1]) == links, what=f"the round in {place}")
        page = self.open("models")
        page.wait(lambda: page.run(found, "tbody a", links[0][1]) == links, what="the round in the table")

    def test_a_refusal_is_told(self):
        page = self.open("control")
        page.run("const q = [...document.querySelectorAll('.field')].find((f) => f.innerText.startsWith('Quorum'));"
                 "q.querySelector('input').value = '500';")
        page.find("form button[type=submit]")[0].click()
        page.wait(lambda: page.text("form [role=alert]"), what="the refusal")
        self.assertNotEqual(self.fed.live()["state"], "monitoring")
        self.browser.collect()
        self.browser.console = [line for line in self.browser.console if " 400 " not in line]

    def test_events_follow_and_filter(self):
        page = self.open("events")
        page.wait_text("Model update completed.", "table")
        page.find("input[type=search]")[0].send_keys("update completed clinic-1")
        page.wait_text(f"{ROUNDS} of", ".filter")
        rows = page.run("return [...document.querySelectorAll('tbody tr[aria-rowindex]')].map((r) => r.innerText)")
        self.assertTrue(all("clinic-1" in row for row in rows), rows)
        raw = self.lab.client
        page.find("input[type=search]")[0].clear()
        page.find("input[type=search]")[0].send_keys("hello from the lab")
        raw.connector.SendStatus(raw.pb.Status(sender=raw.sender, status="hello from the lab",
                                               log_level=raw.pb.LogLevel.Value("INFO")), metadata=raw.metadata)
        page.wait_text("hello from the lab", "tbody")

    def test_what_is_said_while_events_load(self):
        """is shown, although the answer that is on its way does not have it."""
        page = self.open("overview")
        self.hear(page)
        page.run("""
            const own = fetch;
            window.held = [];
            window.fetch = (path, options) => own(path, options).then((answer) =>
                (String(path).includes('/statuses/') ? new Promise((go) => held.push(() => go(answer))) : answer));""")
        page.find("nav a[href='/dashboard/events']")[0].click()
        page.wait(lambda: page.run("return held.length") == 1, what="the answer")
        raw = self.lab.client
        raw.connector.SendStatus(raw.pb.Status(sender=raw.sender, status="said meanwhile",
                                               log_level=raw.pb.LogLevel.Value("INFO")), metadata=raw.metadata)
        page.wait(lambda: "status" in page.run("return heard"), what="the event")
        page.run("held.forEach((go) => go())")
        page.wait_text("Model update completed.", "tbody")
        page.wait_text("said meanwhile", "tbody", 3)

    # -- how it behaves -------------------------------------------------------------------------

    def test_keyboard(self):
        """The skip link, the navigation, sorting: without a mouse; focus can be seen."""
        page = self.open("network")
        active = page.driver.switch_to.active_element
        active.send_keys("\ue004")  # Tab
        self.assertEqual(page.driver.switch_to.active_element.text, "Skip to content")
        page.driver.switch_to.active_element.send_keys("\ue007")  # Enter
        self.assertEqual(page.run("return document.activeElement.id"), "main")
        sort = page.find("th[data-key=ip] button")[0]
        page.run("arguments[0].focus()", sort)
        sort.send_keys("\ue007")
        self.assertEqual(page.find("th[data-key=ip]")[0].get_attribute("aria-sort"), "ascending")
        sort.send_keys("\ue007")
        self.assertEqual(page.find("th[data-key=ip]")[0].get_attribute("aria-sort"), "descending")
        self.assertNotEqual(page.run("return getComputedStyle(document.activeElement).outlineStyle"),
                            "none")
        link = page.find("nav a[href='/dashboard/events']")[0]
        page.run("arguments[0].focus()", link)
        link.send_keys("\ue007")
        page.wait_text("Events", "h1")
        self.assertEqual(page.run("return document.activeElement.id"), "main")
        page.driver.back()
        page.wait_text("Network", "h1")
        unnamed = page.run("return [...document.querySelectorAll('input, select, button, a')]"
                           ".filter((n) => !(n.innerText || n.ariaLabel || n.labels?.length)).length")
        self.assertEqual(unnamed, 0)

    def test_theme(self):
        page = self.open("overview")
        ground = "return getComputedStyle(document.body.parentElement).backgroundColor"
        light = page.run(ground)
        page.find("#theme")[0].click()
        self.assertNotEqual(page.run(ground), light)
        self.open("overview")  # it is remembered
        self.assertNotEqual(page.run(ground), light)
        page.find("#theme")[0].click()
        self.assertEqual(page.run(ground), light)
        page.run("localStorage.clear()")
        self.open("overview")  # as the system has it, whatever it changes to
        page.scheme("dark")
        page.wait(lambda: page.run(ground) != light, 5, "the system's dark")
        page.wait_text("Light", "#theme")

    def test_thousand_clients(self):
        """In the table they are sorted, filtered and scrolled through without a stutter."""
        have = self.fed.rest("GET", "/api/v1/clients/count")[1]
        for i in range(1000 - have + 7):
            self.fed.rest("POST", "/api/v1/clients/add", {
                "client_id": f"far-{i:04d}", "name": f"far-{(i * 7919) % 1000:04d}", "package": "local"})
        self.browser.wait(lambda: self.fed.rest("GET", "/api/v1/clients/count")[1] == 1007, 60,
                          "the rows of 1,007 clients")
        page = self.open("network")
        page.wait_text("1,007 in all", ".filter")
        measure = """
            const done = arguments[0], frame = document.querySelectorAll('.frame')[1];
            const longest = []; let last = performance.now(), n = 0;
            const step = (now) => {
                longest.push(now - last); last = now; n += 1;
                frame.scrollTop = n * frame.scrollHeight / 60;
                if (n < 60) requestAnimationFrame(step);
                else done(longest.sort((a, b) => a - b));
            };
            requestAnimationFrame(step);"""
        frames = page.driver.execute_async_script(measure)
        self.assertLess(frames[54], 100, f"nine of ten frames within 100 ms: {frames}")
        took = page.run("""
            const button = document.querySelectorAll('table')[1].querySelector('th[data-key=name] button');
            const began = performance.now(); button.click(); button.click();
            document.body.getBoundingClientRect(); return performance.now() - began""")
        self.assertLess(took, 500, "two sorts of 1,000 rows, ms")
        first = page.text("table:nth-of-type(1) tbody")
        self.assertIn("far-", first)
        drawn = page.run("return document.querySelectorAll('.frame')[1].querySelectorAll('tbody tr').length")
        self.assertLess(drawn, 100, "only rows in sight are in the page")
        page.find("input[type=search]")[0].send_keys("far-0123")
        page.wait_text("2 of 1,007", ".filter")  # one of that name, one of that id

    def test_metrics_are_asked_for_by_name(self):
        """What they are called is asked once; what that answer holds is not asked for again."""
        page = self.open("overview")
        asked = """return performance.getEntriesByType('resource').map((e) => e.name)
                .filter((n) => n.includes('views/validations')).map((n) => new URL(n).searchParams.get('metric'))"""
        first = page.run(asked)
        self.assertEqual(len(first), 2, first)
        n_rounds = self.marks("accuracy", "mark-symbol")
        page.run("performance.clearResourceTimings(); window.dispatchEvent(new Event('pagehide'));"
                 "document.dispatchEvent(new Event('visibilitychange'))")
        page.wait(lambda: len(page.run(asked)) >= 2, what="the rows again")
        page.driver.execute_async_script("setTimeout(arguments[0], 500)")
        self.assertEqual(sorted(map(str, page.run(asked))), ["test_accuracy", "test_loss"])
        self.assertEqual(self.marks("accuracy", "mark-symbol"), n_rounds)
        self.assertEqual(self.marks("loss", "mark-symbol"), n_rounds)

    def test_focus_stays_on_what_is_written_anew(self):
        page = self.open("events")
        focused = page.driver.execute_async_script("""
            const done = arguments[0];
            import(new URL('dom.js', document.querySelector('script[type=module]').src)).then(({ fill, h }) => {
                const list = document.body.appendChild(h('ul'));
                const links = () => ['a', 'b'].map((id) => h('li', {}, h('a', { href: `/dashboard/clients/${id}` }, id)));
                fill(list, links()).querySelectorAll('a')[1].focus();
                fill(list, links());
                done([document.activeElement.textContent, list.contains(document.activeElement)]);
            });""")
        self.assertEqual(focused, ["b", True])

    def hold_live(self, page):
        """From now on GET /api/v1/live waits: window.release(n, isFailing) ends the nth. Every stream
        that the page opens is in window.streams."""
        page.run("""
            const [own, Source] = [fetch, EventSource];
            window.held = []; window.streams = [];
            window.fetch = (path, options) => (String(path).endsWith('/live')
                ? new Promise((done, fail) => held.push((isFailing) =>
                    (isFailing ? fail(new DOMException('gone', 'TimeoutError')) : done(own(path, options)))))
                : own(path, options));
            window.release = (n, isFailing) => held[n](isFailing);
            window.EventSource = class extends Source {
                constructor(path) { super(path); streams.push(this); } };
            document.dispatchEvent(new Event('visibilitychange'));""")

    def begin_anew(self, page):
        """Close the page's stream as a tab does that nobody sees, and hold what the next one asks."""
        page.run("window.dispatchEvent(new Event('pagehide'))")
        self.hold_live(page)
        page.wait(lambda: page.run("return held.length") == 1, what="the first look")

    def hear(self, page, fault="null"):
        """What the page's live state tells from now on is in window.heard."""
        page.driver.execute_async_script("""
            const done = arguments[0];
            import(new URL('live.js', document.querySelector('script[type=module]').src)).then(({ listen }) => {
                window.heard = [];
                listen((kind, data) => { if (%s) throw new Error('a fault'); });
                listen((kind, data) => heard.push(data?.text ?? kind));
                done(); });""" % fault)

    def test_a_second_look_while_the_first_is_out(self):
        """The first one's answer, and what came before the second, is of no interest any more."""
        page = self.open("overview")
        self.hear(page)
        self.begin_anew(page)
        say = "streams[0].dispatchEvent(new MessageEvent('%s', { lastEventId: '1', data: '{\"text\": \"%s\"}' }))"
        page.run(say % ("status", "before"))
        page.run(say % ("reset", ""))
        page.run(say % ("status", "after"))
        page.wait(lambda: page.run("return held.length") == 2, what="the second look")
        page.run("release(0)")
        page.driver.execute_async_script("setTimeout(arguments[0], 300)")
        self.assertNotIn("after", page.run("return heard"))
        page.run("release(1)")
        page.wait(lambda: "after" in page.run("return heard"), what="what came after")
        page.driver.execute_async_script("setTimeout(arguments[0], 1500)")
        heard = page.run("return heard")
        self.assertEqual([heard.count(text) for text in ("whole", "before", "after")], [1, 0, 1], heard)
        self.assertEqual(page.run("return streams.map((s) => s.readyState)"), [1], "one stream, open")

    def test_a_fault_of_a_page_is_not_the_streams(self):
        """It is told, the others hear of what has come, and nobody connects again for it."""
        page = self.open("overview")
        self.hear(page, "kind === 'whole'")
        self.begin_anew(page)
        page.run("release(0)")
        page.wait(lambda: "whole" in page.run("return heard"), what="the second listener")
        page.driver.execute_async_script("setTimeout(arguments[0], 1500)")
        self.assertEqual(page.run("return streams.map((s) => s.readyState)"), [1], "one stream, open")
        page.collect()
        self.assertEqual(len(page.console), 1, page.console)
        self.assertIn("a fault", page.console.pop())

    def test_a_tab_that_is_shown_while_it_waits(self):
        """After a refusal it would connect a second later: it has done so already."""
        page = self.open("overview")
        self.begin_anew(page)
        for n in range(2):  # what fails is asked once more
            page.wait(lambda: page.run("return held.length") > n, what="the look")
            page.run("release(arguments[0], true)", n)
        page.wait_text("Not connected", "#state-text")
        page.run("document.dispatchEvent(new Event('visibilitychange'))")
        page.driver.execute_async_script("setTimeout(arguments[0], 2000)")
        self.assertEqual(page.run("return streams.filter((s) => s.readyState !== 2).length"), 1)
        page.run("held.slice(2).forEach((end) => end())")
        page.wait_text("Idle", "#state-text")

    def test_a_client_that_is_forgotten(self):
        """goes from the table, at once and for those who look away meanwhile."""
        for name in ("at-once", "meanwhile"):
            self.fed.rest("POST", "/api/v1/clients/add",
                          {"client_id": name, "name": name, "package": "local"})
        page = self.open("network")
        for name in ("at-once", "meanwhile"):
            page.wait_text(name, ".card:last-child tbody")
            if name == "meanwhile":
                page.run("window.dispatchEvent(new Event('pagehide'))")
            self.assertEqual(self.fed.rest("DELETE", f"/api/v1/clients/{name}")[0], 200)
            page.run("document.dispatchEvent(new Event('visibilitychange'))")
            page.wait(lambda: name not in page.text(".card:last-child tbody"), 10, f"{name} gone")

    def test_the_first_session_comes(self):
        """The page of rounds shows it, and is not made anew at each write after that."""
        with Federation() as fed:
            fed.start_reducer()
            model = fed.upload_model(self.fed.folder / "seed.npz")
            with Browser(f"http://{fed.http}") as page:
                page.go(PAGES["rounds"])
                page.wait_text("No session has run yet")
                page.wait_text("Idle", "#state-text")
                fed.ask_session(model, name="the first")
                page.wait_text("the first", "select")
                page.wait(lambda: len(page.find(".plot .empty")) == 3, what="the plots")
                page.run("document.querySelector('h1').dataset.mine = 1; window.nLooks = 0;"
                         "new EventSource('/api/v1/events/stream').addEventListener('session', () => nLooks++)")
                page.driver.execute_async_script("setTimeout(arguments[0], 500)")
                fed.ask_session(model, name="the second")
                page.wait(lambda: page.run("return nLooks"), what="the second session")
                page.driver.execute_async_script("setTimeout(arguments[0], 1000)")
                self.assertEqual(page.run("return document.querySelector('h1').dataset.mine"), "1")

    def test_the_first_session_comes_to_other_pages(self):
        """that were opened before it: they have its choice and what is drawn of it."""
        for name, path, nothing, cards in (
                ("models", PAGES["models"], "Once a session runs", ["Model validations", "Models"]),
                ("client", "/dashboard/clients/early", "No session has run yet", CARDS["client"])):
            with self.subTest(page=name), Federation() as fed:
                fed.start_reducer()
                fed.start_combiner()
                fed.rest("POST", "/api/v1/clients/add",
                         {"client_id": "early", "name": "early", "package": "local"})
                self.browser.wait(lambda: fed.rest("GET", "/api/v1/clients/early")[0] == 200,
                                  what="the client's row")
                model = fed.upload_model(self.fed.folder / "seed.npz")
                with Browser(f"http://{fed.http}") as page:
                    page.go(path)
                    page.wait_text(nothing)
                    page.wait_text("Idle", "#state-text")
                    page.run("document.querySelector('h1').dataset.mine = 1")
                    fed.ask_session(model, name="the first")
                    page.wait_text("the first", "select")
                    page.wait(lambda: len(page.find(".plot .empty")) == 1, what="the plot")
                    self.assertEqual(page.run(
                        "return [...document.querySelectorAll('h2')].map((n) => n.textContent)"), cards)
                    self.assertNotIn(nothing, page.text())
                    self.assertEqual(page.run("return document.querySelector('h1').dataset.mine"), "1")

    def test_reducer_restarts(self):
        """A page that is open says so, and goes on by itself."""
        with Federation() as fed:
            fed.start_reducer()
            with Browser(f"http://{fed.http}") as page:
                page.go("/dashboard/")
                page.wait_text("Idle", "#state-text")
                page.wait_text("No combiner has dialled in", ".troubles")
                page.shoot(PICTURES / "overview-empty.png")
                for name in ("network", "models", "rounds", "events", "control"):
                    page.go(PAGES[name])
                    page.wait_text("Idle", "#state-text")
                    page.shoot(PICTURES / f"{name}-empty.png")
                page.collect()
                self.assertEqual(page.console, [])
                fed.reducer.kill()
                page.wait_text("Not connected", "#state-text")
                fed.start_reducer()
                page.wait_text("Idle", "#state-text")
                fed.start_combiner()
                page.go(PAGES["network"])
                page.wait_text("combiner", "tbody")


if __name__ == "__main__":
    if not browser.MISSING:
        browser.alone()
    federation.main()
