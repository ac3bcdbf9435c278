// Sends events with the published client of OpenMeter, which lies in the working folder's node_modules:
// `node openmeter.cjs URL API_KEY NOW`. Says how each call ended, a line of JSON for each.
const { createRequire } = require('node:module')
const path = require('node:path')

const { OpenMeter } = createRequire(path.join(process.cwd(), 'tools.js'))('@openmeter/sdk')
const [url, apiKey, now] = process.argv.slice(2)
const openmeter = new OpenMeter({ baseUrl: url, apiKey })

const time = new Date(now)
const prompt = (id, tokens, subject = 'acme') => ({
  id,
  source: 'gateway',
  type: 'prompt',
  subject,
  time,
  data: { usage: { tokens }, user: 'ada', model: 'large' },
})

const calls = [
  ['single', () => openmeter.events.ingest(prompt('e-1', 120))],
  ['batch', () => openmeter.events.ingest([prompt('e-2', 0.5), prompt('e-3', '7'), prompt('e-4', 1)])],
  ['retry', () => openmeter.events.ingest([prompt('e-1', 120), prompt('e-2', 0.5), prompt('e-3', '7')])],
  ['own id, source and time', () => openmeter.events.ingest({ type: 'page', subject: 'acme' })],
  ['wrong', () => openmeter.events.ingest([prompt('e-5', 1), prompt('e-6', -1)])],
  ['stranger', () => new OpenMeter({ baseUrl: url, apiKey: 'no-key' }).events.ingest(prompt('e-7', 1))],
]

// What is read; the same question is asked in every way the client has.
const day = new Date(time)
day.setUTCHours(0, 0, 0, 0)
const next = new Date(day.getTime() + 24 * 60 * 60 * 1000)
calls.push(
  ['value of a subject', () => openmeter.entitlementsV1.value('acme', 'tokens')],
  ['value of a customer', () => openmeter.customers.entitlementsV1.value('acme', 'tokens')],
  ['value by version 2', () => openmeter.customers.entitlements.value('acme', 'tokens')],
  ['access', () => openmeter.customers.getAccess('acme')],
  ['no entitlement', () => openmeter.customers.entitlements.value('acme', 'nothing')],
  ['nobody', () => openmeter.customers.getAccess('nobody')],
  ['query', () => openmeter.meters.query('tokens', { subject: ['acme'], windowSize: 'DAY', from: day, to: next })],
  ['query by body', () => openmeter.meters.queryPost('tokens', { subject: ['acme'], windowSize: 'DAY', from: day, to: next })],
  ['query of all', () => openmeter.meters.query('tokens', { subject: ['acme', 'globex'] })],
  ['query by a property', () => openmeter.meters.query('tokens', { subject: ['acme'], groupBy: ['model', 'subject'] })],
  ['query with a filter', () => openmeter.meters.query('tokens', { subject: ['acme'], filterGroupBy: { model: 'small' } })],
  ['query of nobody', () => openmeter.meters.query('tokens', {})],
)

async function main() {
  for (const [call, send] of calls) {
    try {
      const reply = await send()
      console.log(JSON.stringify({ call, ok: true, reply }))
    } catch (error) {
      const problem = error.__raw ?? error
      console.log(JSON.stringify({ call, ok: false, name: error.name, status: error.status, message: error.message, problem }))
    }
  }
}

main()
