// Makes pictures of every page of a demo's console and portal, at two widths, light and dark: node screenshots.cjs URL FOLDER.
const { chromium } = require('playwright-core');
const path = require('path');

const [base, folder] = process.argv.slice(2);
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];

async function call(method, route, body) {
  const init = { method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body) };
  const reply = await fetch(base + route, init);
  const told = await reply.json();
  if (!reply.ok && reply.status !== 402) throw new Error(`${method} ${route}: ${JSON.stringify(told)}`);
  return told;
}

// What a demo does not have by itself: somebody who is refused, and a channel whose receiver is away.
async function furnish() {
  const channel = { name: 'Billing team', kind: 'webhook', url: 'http://127.0.0.1:9/notices', notices: ['top_up_granted'] };
  const { id } = await call('POST', '/v1/channels', channel);
  await call('POST', '/v1/orgs/acme/top-ups', { meter: 'reports', amount: 50, key: 'picture', reason: 'goodwill' });
  for (const org of ['rekall', 'uplink', 'hooli']) {
    await call('POST', '/v1/usage', { org, user: 'ana', meter: 'reports', quantity: 400, key: `picture-${org}` });
  }
  const link = await call('POST', '/v1/orgs/acme/portal-links', { expires_in: 3600 });
  // The first attempt fails at once, and the first looks at all organizations and notices take a moment.
  for (let tries = 0; ; tries += 1) {
    const { deliveries } = await call('GET', `/v1/channels/${id}/deliveries`);
    const overview = await (await fetch(`${base}/console`)).text();
    const looked = !(await (await fetch(`${base}/console/notices`)).text()).includes('Look again');
    if (deliveries.length && overview.includes('as of ') && looked) return { channel: `/console/channels/${id}`, portal: link.path };
    if (tries > 600) throw new Error('nothing was delivered, or the overview is not there');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

// Another catalog, tried on the last month.
async function effect(page) {
  await page.goto(`${base}/console/plans/try`);
  const text = await page.locator('#catalog').inputValue();
  const dearer = text.replace('unit_price = "0.0006"', 'unit_price = "0.0009"').replace('amount = 500', 'amount = 400');
  if (dearer === text) throw new Error('the catalog of the demo has no such price');
  await page.locator('#catalog').fill(dearer);
  await page.getByRole('button', { name: 'Show the effect' }).click();
  await page.locator('#effect').waitFor();
}

// A page with a form of it unfolded.
const unfolded = (address, summary) => async (page) => {
  await page.goto(base + address);
  await page.locator('summary', { hasText: summary }).first().click();
};

// Makes pictures of pages, each at two widths, light and dark.
async function picture(browser, pages) {
  for (const [width, height] of [[1440, 900], [390, 844]]) {
    for (const colorScheme of ['light', 'dark']) {
      const context = await browser.newContext({ viewport: { width, height }, colorScheme });
      // A busy machine may take a minute for what it does in a second.
      context.setDefaultTimeout(120000);
      const page = await context.newPage();
      for (const [name, place] of Object.entries(pages)) {
        if (typeof place === 'string') await page.goto(base + place);
        else await place(page);
        await page.screenshot({ path: path.join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      }
      await context.close();
    }
  }
}

// The page where one signs in, and the page of who did: a demo asks for no key until there is one.
async function signIn(browser) {
  const { secret } = await call('POST', '/v1/api-keys', { name: 'Ann at the desk', role: 'admin' });
  const asked = async (page) => {
    await page.goto(`${base}/console/sign-in`);
    await page.getByLabel('API key').waitFor();
  };
  const given = (key, to) => async (page) => {
    await asked(page);
    await page.getByLabel('API key').fill(key);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.locator(to).waitFor();
  };
  await picture(browser, {
    'sign-in': asked, 'sign-in-wrong': given('not-a-key', '.wrong'), 'signed-in': given(secret, '.who form'),
  });
}

(async () => {
  const { channel, portal } = await furnish();
  const pages = {
    overview: '/console', organizations: '/console/orgs', organization: '/console/orgs/acme',
    'organization-top-up': unfolded('/console/orgs/acme', 'Top up'),
    'organization-out': '/console/orgs/rekall', 'organization-trial': '/console/orgs/umbrella',
    users: '/console/orgs/acme/users', paths: '/console/orgs/acme/paths', holds: '/console/orgs/acme/holds', ledger: '/console/orgs/acme/ledger',
    'ledger-explained': unfolded('/console/orgs/acme/ledger', 'explain'), 'organization-bills': '/console/orgs/acme/bills',
    usage: '/console/usage?org=acme&meter=reports', 'usage-by-model': '/console/usage?org=acme&meter=tokens&group_by=model',
    'usage-empty': '/console/usage', plans: '/console/plans', 'plans-try': '/console/plans/try', 'plans-effect': effect,
    bills: '/console/bills', notices: '/console/notices', channels: '/console/channels',
    'channels-make': unfolded('/console/channels', 'Make a channel'), channel, keys: '/console/keys',
    health: '/console/health', problem: '/console/orgs/nobody', portal,
  };
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
  await picture(browser, pages);
  // The one at the top of the README: what is seen without scrolling.
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  const page = await context.newPage();
  await page.goto(`${base}/console`);
  await page.screenshot({ path: path.join(folder, 'readme.png') });
  await context.close();
  await signIn(browser);
  await browser.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
