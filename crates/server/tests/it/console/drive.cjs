// Drives the console and the portal in Chromium, with scripts and without: node drive.cjs URL KEY CHANNEL PATH …, where CHANNEL is
// the page of a channel for people, and each path is that of a page besides those that are named here. Prints what is wrong.
const { chromium } = require('playwright-core');
const axe = require('fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const [base, key, people, ...others] = process.argv.slice(2);
const wrong = [];
const check = (fine, text) => { if (!fine) wrong.push(text); };

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];
const paths = ['/console', '/console/orgs', '/console/orgs/acme', '/console/orgs/acme/users', '/console/orgs/acme/paths', '/console/orgs/acme/holds', '/console/orgs/acme/ledger',
  '/console/orgs/acme/bills', '/console/usage?org=acme&meter=reports', '/console/plans', '/console/plans/try', '/console/bills', '/console/notices',
  '/console/channels', people, '/console/keys', '/console/health', '/console/orgs/nobody'];

// What a page breaks of the rules that axe knows, and whether it is wider than its window.
async function look(page, place) {
  // What is done beside a row is seen without moving its table, and on a phone what is told in words has room for some of them.
  const { away, cramped } = await page.evaluate(() => {
    const right = (element) => element.getBoundingClientRect().right;
    const boxes = [...document.querySelectorAll('.scroll')];
    const seen = (element) => element.checkVisibility();
    const controls = (box) => [...box.querySelectorAll('summary, button')].filter((control) => seen(control) && right(control) > right(box) + 1);
    const words = (box) => [...box.querySelectorAll('.whole')].filter((cell) => window.innerWidth < 640 && cell.offsetWidth < 160);
    const html = (elements) => elements.map((element) => element.outerHTML.slice(0, 160));
    return { away: html(boxes.flatMap(controls)), cramped: html(boxes.flatMap(words)) };
  });
  for (const html of away) check(false, `${place}: outside of the visible part of its table: ${html}`);
  for (const html of cramped) check(false, `${place}: no room for words: ${html}`);
  // What is folded away is looked at, too.
  await page.evaluate(() => document.querySelectorAll('details').forEach((details) => { details.open = true; }));
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  for (const { id, nodes } of violations) check(false, `${place}: ${id}: ${nodes.map((node) => node.html).join(' ')}`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  check(over <= 0, `${place}: ${over} pixels wider than its window`);
}

// Signs in with nothing but the keyboard.
async function signIn(page) {
  await page.goto(`${base}/console/orgs/acme`);
  // The field takes the focus a moment after the page is there.
  await page.locator('input:focus').waitFor();
  await page.keyboard.type(key);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${base}/console/orgs/acme`);
}

// Moves the focus by the Tab key until it is on what a function finds. Wherever it stops on the way, it is seen.
async function tabTo(page, what, finds) {
  for (let step = 0; step < 300; step += 1) {
    await page.keyboard.press('Tab');
    const [found, seen, html] = await page.evaluate(`(() => {
      const element = document.activeElement;
      const outline = getComputedStyle(element);
      const seen = element === document.body || (outline.outlineStyle !== 'none' && parseFloat(outline.outlineWidth) > 0);
      return [(${finds})(element), seen, element.outerHTML.slice(0, 200)];
    })()`);
    check(seen, `the focus is not seen on ${html}`);
    if (found) return;
  }
  throw new Error(`the Tab key does not reach ${what}`);
}

const summary = (text) => `(element) => element.matches('summary') && element.textContent.startsWith('${text}')`;
const link = (text) => `(element) => element.matches('a') && element.textContent === '${text}'`;
const field = (selector) => `(element) => element.matches('${selector}')`;

// Tops up, takes it back, limits paths and makes a channel with nothing but the keyboard.
async function actByKeyboard(page) {
  await page.goto(`${base}/console/orgs/acme`);
  const presses = async (what, finds) => {
    await tabTo(page, what, finds);
    await page.keyboard.press('Enter');
  };
  const types = async (name, text) => {
    await tabTo(page, name, field(`[name="${name}"]`));
    await page.keyboard.type(text);
  };
  await presses('the form of a top-up', summary('Top up'));
  await types('amount', '12');
  await types('reason', 'by keyboard');
  await page.keyboard.press('Enter');
  await page.waitForURL(/done=top_up/);
  await presses('the form that takes back', summary('Void'));
  await types('reason', 'by keyboard, too');
  await page.keyboard.press('Enter');
  await page.waitForURL(/done=void/);
  await presses('the form of a limit', summary('Set a limit'));
  await types('scope', 'a path');
  await types('path', 'by-keyboard/*');
  await types('amount', '12');
  await page.keyboard.press('Enter');
  await page.waitForURL(/done=limit/);
  await presses('the notices', link('Notices'));
  await page.waitForURL(/notices/);
  await presses('the channels', link('Channels'));
  await page.waitForURL(/channels/);
  await presses('the form of a channel', summary('Make a channel'));
  await types('name', 'by keyboard');
  await types('kind', 'log');
  await presses('the button', `(element) => element.matches('button') && element.textContent === 'Make a channel'`);
  await page.locator('.note').waitFor();
  check((await page.locator('.note').innerText()).includes('by keyboard'), 'no channel is made by keyboard');
}

// Opens a form, fills it, sends it; what the page says then.
async function send(page, lidText, fields, button) {
  const lid = page.locator('summary', { hasText: lidText }).first();
  const isOpen = await lid.evaluate((element) => element.parentElement.open);
  if (!isOpen) await lid.click();
  const form = page.locator('details[open] form', { has: page.getByRole('button', { name: button }) }).last();
  // What is folded away within the form is opened first.
  const folded = form.locator('details:not([open]) > summary');
  while (await folded.count()) await folded.first().click();
  for (const [name, value] of Object.entries(fields)) {
    const input = form.locator(`[name="${name}"]`);
    if (await input.evaluate((element) => element.tagName) === 'SELECT') await input.selectOption(value);
    else if (await input.getAttribute('type') === 'checkbox') await input.setChecked(value);
    else await input.fill(value);
  }
  await form.getByRole('button', { name: button }).click();
  await page.waitForLoadState();
  return page.locator('main').innerText();
}

// Quiet hours, a digest and a filter, as people fill them in.
const hours = { quiet_from: '22:00', quiet_to: '07:00', digest_at: '09:00', time_zone: 'Europe/Berlin' };
const filter = { 'notice-limit_reached': true, 'notice-bill_closed': true, orgs: 'acme\nbeta', plans: 'basic', meters: 'reports' };

// Makes a channel for people, with hours and a filter, and changes both.
async function actOnHours(page, round) {
  await page.goto(`${base}/console/channels`);
  const slack = { name: `people ${round}`, kind: 'slack', url: 'http://127.0.0.1:9/' };
  const wrong = await send(page, 'Make a channel', { ...slack, ...hours, ...filter, digest_at: '23:00' }, 'Make a channel');
  check(wrong.includes('in the quiet hours'), `${round}: a digest in the quiet hours: ${wrong.slice(0, 300)}`);
  for (const [name, value] of Object.entries({ ...hours, digest_at: '23:00', orgs: filter.orgs })) {
    const typed = await page.locator(`#channel-${name}`).inputValue();
    check(typed === value, `${round}: ${name} was '${value}' and is '${typed}'`);
  }
  check(await page.locator('[name="notice-bill_closed"]').isChecked(), `${round}: a box that was checked is not`);
  await page.locator('#channel-digest_at').fill(hours.digest_at);
  await page.getByRole('button', { name: 'Make a channel' }).click();
  await page.getByRole('link', { name: 'Open it' }).click();
  const shows = async (...texts) => {
    const shown = await page.locator('main').innerText();
    for (const text of texts) check(shown.includes(text), `${round}: the channel does not show '${text}': ${shown.slice(0, 300)}`);
  };
  await shows('quiet from 22:00 to 07:00', 'a digest at 09:00', 'times of Europe/Berlin', 'bill closed, limit reached; of acme, beta; on plan basic; about reports');
  const settings = 'Name, address, hours and filter';
  await send(page, settings, { quiet_from: '', quiet_to: '', digest_at: '08:30', 'notice-limit_reached': false, plans: '' }, 'Save');
  await shows('The channel is saved.', 'a digest at 08:30', 'bill closed; of acme, beta; about reports');
  check(!(await page.locator('main').innerText()).includes('quiet from'), `${round}: quiet hours that were emptied are there`);
  await send(page, 'Remove the channel', {}, 'Remove');
}

// Sends forms that are refused, and looks at what is said of them.
async function refusals(page, place) {
  await page.goto(`${base}/console/orgs/acme`);
  await send(page, 'Set a limit', { scope: 'path', path: 'research//run', amount: '5' }, 'Set the limit');
  check(await page.locator('#limit-path').inputValue() === 'research//run', `${place}: the path that was typed is lost`);
  await look(page, `a limit that is refused at ${place}`);
  await page.goto(`${base}/console/channels`);
  await send(page, 'Make a channel', { name: 'people', kind: 'slack', url: 'http://127.0.0.1:9/', ...hours, ...filter, time_zone: 'Berlin' }, 'Make a channel');
  check((await page.locator('main').innerText()).includes("'Berlin'"), `${place}: nothing is said of the zone`);
  await look(page, `a channel that is refused at ${place}`);
}

// Makes a channel, and does with it all that may be done.
async function actOnChannel(page, round) {
  await page.goto(`${base}/console/channels`);
  const made = await send(page, 'Make a channel', { name: `desk ${round}`, kind: 'webhook', url: 'http://127.0.0.1:9/', orgs: 'acme\nbeta' }, 'Make a channel');
  check(made.includes('which is shown this once'), `${round}: no secret: ${made.slice(0, 300)}`);
  await page.getByRole('link', { name: 'Open it' }).click();
  const says = async (text) => check((await page.locator('main').innerText()).includes(text), `${round}: the channel does not say '${text}'`);
  const press = async (name, text) => {
    await page.getByRole('button', { name, exact: true }).click();
    await page.waitForLoadState();
    await says(text);
  };
  await press('Send a test message', 'The test message was not taken');
  await press('Pause', 'The channel is paused');
  await press('Enable', 'The channel delivers.');
  for (const [summary, fields, button, text] of [
    ['Name, address and filter', { name: `floor ${round}`, meters: 'reports' }, 'Save', 'The channel is saved.'],
    ['Rotate the secret', { overlap_hours: '3' }, 'Make a new secret', 'It is shown this once'],
    ['Deliver again', { since: '2026-11-01T00:00:00Z' }, 'Deliver again', 'They are delivered again'],
    ['Remove the channel', {}, 'Remove', 'The channel is removed.'],
  ]) {
    const told = await send(page, summary, fields, button);
    check(told.includes(text), `${round}: '${summary}' does not say '${text}': ${told.slice(0, 300)}`);
  }
}

// Tries another catalog on this month, then applies it, then compares it with the one before.
async function actOnPlans(page, round) {
  await page.goto(`${base}/console/plans/try`);
  const text = await page.locator('#catalog').inputValue();
  await page.locator('#catalog').fill(`${text}\n[[meters]]\nid = "pages-${round}"\nname = "Pages"\nunit = "page"\n`);
  await page.locator('#month').selectOption('2026-11');
  await page.getByRole('button', { name: 'Show the effect' }).click();
  await page.locator('#effect').waitFor();
  if (round === 'with') await look(page, 'what a catalog would change');
  await page.getByRole('button', { name: 'Apply it' }).click();
  await page.waitForURL(/done=applied/);
  await page.locator('#against').selectOption('1');
  await page.getByRole('button', { name: 'Compare' }).click();
  await page.waitForURL(/against=1/);
  check((await page.locator('main').innerText()).includes(`pages-${round}`), `${round}: the versions are not compared`);
}

async function act(page, round) {
  const at = '/console/orgs/acme';
  const does = async (path, summary, fields, button, says) => {
    if (path) await page.goto(base + path);
    const text = await send(page, summary, fields, button);
    check(text.includes(says), `${round}: '${summary}' does not say '${says}': ${text.slice(0, 300)}`);
  };
  await does(at, 'Top up', { amount: 'many' }, 'Top up', 'amount:');
  check(await page.locator('#top_up-amount').inputValue() === 'many', `${round}: what was typed is lost`);
  await page.locator('#top_up-amount').fill('10');
  await page.locator('#top-up').getByRole('button', { name: 'Top up' }).click();
  await page.waitForURL(/done=top_up/);
  await does(at, 'Void', { reason: 'entered twice' }, 'Void', 'It is taken back.');
  await does(at, 'Set or schedule a plan', { plan: 'enterprise', at: 'next_month' }, 'Set the plan', 'is scheduled');
  await page.getByRole('button', { name: 'Call it off' }).click();
  await page.waitForURL(/done=called_off/);
  await does(at, 'Set a limit', { scope: 'user', window: 'day', amount: '9' }, 'Set the limit', 'The limit is set.');
  await does(at, 'Set a limit', { scope: 'path', path: `lab//${round}`, window: 'day', amount: '9' }, 'Set the limit', 'path:');
  await does(at, 'Set a limit', { scope: 'path', path: `lab/${round}/*`, window: 'rolling_5h', amount: '9' }, 'Set the limit', 'The limit is set.');
  await does(null, 'Set a limit', { scope: 'path', path: `lab/${round}/*`, window: 'rolling_5h', amount: '' }, 'Set the limit', 'The limit is removed.');
  await does(`${at}?path=lab%2F${round}`, 'Set a limit', { window: 'day', amount: '7' }, 'Set the limit', 'The limit is set.');
  check((await page.locator('#limits + *').innerText()).includes(`path lab/${round}`), `${round}: no limit is on the path`);
  await does(at, 'Set notice thresholds', { thresholds: '40 95' }, 'Set the shares', 'Told at 40 %, 95 % of the credit, set here.');
  await does(at, 'Set notice thresholds', { thresholds: '' }, 'Set the shares', 'Notices go by the plan again.');
  await does(`${at}/holds`, 'Release', {}, 'Release', 'The hold is released');
  await does(at, 'Name and time zone', { name: `Acme ${round}`, time_zone: 'Europe/Paris' }, 'Save', 'It is saved.');
  await does('/console/orgs', 'Add an organization', { org: `new-${round}`, plan: 'basic' }, 'Add', 'The organization is there.');
  await does('/console/keys', 'Make a key', { name: `desk ${round}`, role: 'read' }, 'Make a key', 'Its secret is shown this once');
  await does(null, `Revoke desk ${round}`, {}, 'Revoke', 'The key is revoked.');
  await actOnChannel(page, round);
  await actOnHours(page, round);
  await actOnPlans(page, round);
  await does(at, 'Link for the customer', { expires_in: '3600' }, 'Make a link', 'The link for the customer');
  await page.locator('.note a').click();
  await page.waitForURL(/\/portal\//);
  check((await page.locator('h1').innerText()).includes('Acme'), `${round}: the portal names its organization`);
}

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
  for (const [round, scripts] of [['with', true], ['without', false]]) {
    const context = await browser.newContext({ javaScriptEnabled: scripts, viewport: { width: 1440, height: 900 } });
    const page = await context.newPage();
    page.setDefaultTimeout(15000);
    page.on('console', (message) => check(message.type() !== 'error' || message.text().includes('status of 4'), `${page.url()}: ${message.text()}`));
    await signIn(page);
    await act(page, round);
    if (scripts) {
      await look(page, 'portal');
      await page.goto(`${base}/console`);
      await actByKeyboard(page);
    }
    for (const path of [...paths, ...others]) {
      const reply = await page.goto(base + path);
      const status = path.endsWith('nobody') ? 404 : 200;
      check(reply.status() === status && await page.locator('main').isVisible(), `${path} ${round} scripts: ${reply.status()}`);
    }
    await context.close();
  }
  // Looking changes nothing, so that all windows are looked at side by side.
  const windows = [[1440, 'light'], [1440, 'dark'], [390, 'light'], [390, 'dark']];
  await Promise.all(windows.map(async ([width, colorScheme]) => {
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
    const page = await context.newPage();
    await page.goto(`${base}/console/sign-in`);
    await look(page, `sign-in at ${width} ${colorScheme}`);
    await signIn(page);
    await refusals(page, `${width} ${colorScheme}`);
    // The pages of others at each width once.
    const shown = (width > 1000) === (colorScheme === 'light') ? [...paths, ...others] : paths;
    for (const path of shown) {
      await page.goto(base + path);
      await look(page, `${path} at ${width} ${colorScheme}`);
    }
    await context.close();
  }));
  await browser.close();
  console.log(JSON.stringify(wrong));
})();
