# A session of Ruby's httpclient: BASE USER PASSWORD. Prints "ANSWER status user" for each answer.
require "httpclient"

base, user, password = ARGV
client = HTTPClient.new
client.receive_timeout = 50
client.ssl_config.clear_cert_store
client.ssl_config.add_trust_ca(ENV["SSL_CERT_FILE"])
client.set_auth(nil, "EXAMPLE\\#{user}", password)
%w[one two three four].each do |path|
  url = "#{base}/session/#{path}"
  answer = path == "three" ? client.post(url, "x" * 100_000) : client.get(url)
  puts "ANSWER #{answer.status} #{answer.headers["X-Identity"]}"
end
