// stripe-sync-engine on webhooks that are signed beforehand and handed to it without HTTP, which can only be to its advantage.
//
// DATABASE_URL: an empty database. BODY_BYTES: the size of a webhook. RUNS: JSON, [{first, count, edition, concurrency}, …], done in
// this order; each begins with SIGUSR2 after `ready`, and ends with `done {"seconds": …}`.
const { StripeSync, runMigrations } = require('@supabase/stripe-sync-engine')
const Stripe = require('stripe')

const SECRET = 'whsec_test'
const WARM_UP = 1000
const bytes = Number(process.env.BODY_BYTES)
const databaseUrl = process.env.DATABASE_URL
const beginning = Math.floor(Date.now() / 1000)
const stripe = new Stripe('sk_test_x')

function customer(number, edition, padding) {
  return JSON.stringify({
    id: `evt_${number}_${edition}`,
    object: 'event',
    type: 'customer.updated',
    created: beginning + edition,
    data: {
      object: {
        id: `cus_${String(number).padStart(8, '0')}`,
        object: 'customer',
        address: null,
        description: 'd'.repeat(Math.ceil(padding / 2)),
        email: `a${number}@b.c`,
        metadata: { k: 'v'.repeat(Math.floor(padding / 2)) },
        name: 'n',
        phone: null,
        shipping: null,
        balance: 0,
        created: 1,
        currency: 'usd',
        default_source: null,
        delinquent: false,
        discount: null,
        invoice_prefix: 'A',
        invoice_settings: {},
        livemode: false,
        next_invoice_sequence: 1,
        preferred_locales: [],
        tax_exempt: 'none',
      },
    },
  })
}

function signed(number, edition) {
  const payload = customer(number, edition, Math.max(0, bytes - customer(number, edition, 0).length))
  return [Buffer.from(payload), stripe.webhooks.generateTestHeaderString({ payload, secret: SECRET })]
}

async function race(sync, { first, count, edition, concurrency }, begin) {
  const webhooks = Array.from({ length: count }, (_, index) => signed(first + index, edition))
  await begin()
  const began = process.hrtime.bigint()
  let next = 0
  const work = async () => {
    while (next < count) {
      const [payload, signature] = webhooks[next++]
      await sync.processWebhook(payload, signature)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
  return Number(process.hrtime.bigint() - began) / 1e9
}

async function main() {
  await runMigrations({ databaseUrl, schema: 'stripe' })
  const sync = new StripeSync({
    poolConfig: { connectionString: databaseUrl, max: 10 },
    stripeSecretKey: 'sk_test_x',
    stripeWebhookSecret: SECRET,
    backfillRelatedEntities: false,
  })
  await race(sync, { first: 90_000_000, count: WARM_UP, edition: 0, concurrency: 10 }, async () => {})
  for (const run of JSON.parse(process.env.RUNS)) {
    const told = () => new Promise((resolve) => {
      process.once('SIGUSR2', resolve)
      console.log('ready')
    })
    console.log('done ' + JSON.stringify({ seconds: await race(sync, run, told) }))
  }
  setInterval(() => {}, 1 << 30) // so that what we have taken can be read
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
