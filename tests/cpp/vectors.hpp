// Reads the file of known answers. Not a JSON parser: just enough for a file that this project writes itself.
#pragma once
#include <cstdint>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

class Vectors {
 public:
  explicit Vectors(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot read " + path);
    text_.assign(std::istreambuf_iterator<char>(file), {});
  }

  // The objects of the list with this name; no object of the file holds another one.
  std::vector<std::string> objects(const std::string& name) const {
    std::vector<std::string> result;
    std::size_t at = after(text_, name);
    while ((at = text_.find_first_of("{}", at)) != std::string::npos && text_[at] == '{') {
      const std::size_t end = text_.find('}', at);
      result.push_back(text_.substr(at, end - at));
      at = end + 1;
      if (text_[text_.find_first_not_of(" \n", at)] == ']') break;
    }
    if (result.empty()) throw std::runtime_error("no objects in " + name);
    return result;
  }

  static std::string string(const std::string& object, const std::string& key) {
    const std::size_t begin = object.find('"', after(object, key)) + 1;
    return object.substr(begin, object.find('"', begin) - begin);
  }

  static uint64_t number(const std::string& object, const std::string& key) {  // 12 or "12"
    return std::stoull(object.substr(object.find_first_not_of(" \"", after(object, key))));
  }

  static double real(const std::string& object, const std::string& key) {
    return std::stod(object.substr(after(object, key)));
  }

  static std::vector<int64_t> list(const std::string& object, const std::string& key) {
    std::vector<int64_t> result;
    std::size_t at = object.find('[', after(object, key)) + 1;
    const std::size_t end = object.find(']', at);
    while ((at = object.find_first_of("0123456789", at)) < end) {
      std::size_t used = 0;
      result.push_back(std::stoll(object.substr(at), &used));
      at += used;
    }
    return result;
  }

 private:
  static std::size_t after(const std::string& text, const std::string& key) {
    const std::size_t at = text.find('"' + key + "\":");
    if (at == std::string::npos) throw std::runtime_error("no " + key);
    return at + key.size() + 3;
  }

  std::string text_;
};
