// Signs in to the console by the provider in Chromium: node browser.cjs URL ADDRESS LOGIN, where the host of the URL is at the
// address. Prints who the console says that is.
const { chromium } = require('playwright-core');
const [base, address, login] = process.argv.slice(2);

(async () => {
  const args = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--disable-dev-shm-usage', `--host-resolver-rules=MAP ${new URL(base).host} ${address}`];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
  const page = await browser.newPage();
  await page.goto(`${base}/console/orgs`);
  await page.getByRole('link', { name: 'Sign in with your organization’s account' }).click();
  await page.locator('input[name=login]').fill(login);
  await page.locator('input[name=password]').fill('any');
  await page.getByRole('button', { name: 'Sign-in' }).click();
  await page.getByRole('button', { name: 'Continue' }).click();
  console.log(await page.locator('.who bdi').textContent());
  await browser.close();
})();
